"""The documentation builds as a site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from mkdocs.__main__ import cli

from tests.bootstrap import ROOT

_FETCHED = re.compile(r'<(?:script|img|link rel="(?!canonical))[^>]*(?:src|href)="(?:https?:)?//')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by `mkdocs build --strict`: each warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = ["build", "--strict", "--config-file", str(ROOT / "mkdocs.yml"), "--site-dir"]
    done = CliRunner().invoke(cli, [*words, str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def test_every_page_is_in_the_menu_of_the_home_page(site: Path) -> None:
    """The menu leads to each page of the documentation."""
    home = (site / "index.html").read_text()
    for page in set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs" / "README.md"}:
        path = page.relative_to(ROOT / "docs").with_suffix("")
        # The page of a folder is its index.
        path = path.parent if path.name == "README" else path
        assert re.search(rf'<li class="toctree-l\d"><a .*href="{path}/"', home), page


def test_a_link_out_of_the_documentation_leads_to_the_repository(site: Path) -> None:
    """What is not part of the site is linked where it is kept."""
    page = (site / "architecture" / "index.html").read_text()
    assert 'href="https://github.com/bxcache/bxcache/blob/main/CONTRIBUTING.md"' in page


def test_no_page_fetches_from_elsewhere(site: Path) -> None:
    """Scripts, styles and pictures are the site's own."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        assert not _FETCHED.search(page.read_text()), page
