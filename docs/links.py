"""A hook of MkDocs: a link to a file outside `docs` leads to the repository."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

_RELATIVE = re.compile(r"\]\((\.\./[^)]*)\)")


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, **_: Any) -> str:  # noqa: ANN401  # as MkDocs calls it
    """Return a page whose links out of the folder are addresses."""

    def lead(found: re.Match[str]) -> str:
        folder = posixpath.dirname(page.file.src_uri)
        path = posixpath.normpath(posixpath.join(folder, found[1]))
        outside = path.removeprefix("../")
        return found[0] if outside == path else f"]({config.repo_url}/blob/main/{outside})"

    return _RELATIVE.sub(lead, text)
