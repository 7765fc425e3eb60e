"""GitHub's cache service as a backend: an entry for each scope."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from bxcache.backends.finding import fine
from bxcache.backends.service import ServiceBackend
from bxcache.buildx.capabilities import explain_inline_only, parse_version
from bxcache.errors import Trouble
from bxcache.services.actions_access import SECOND, TOKEN, find_access
from bxcache.services.faults import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bxcache.backends.finding import Finding
    from bxcache.buildx.capabilities import Capabilities
    from bxcache.config.models import BuildSettings
    from bxcache.config.services import GhaSettings
    from bxcache.services.actions_access import Access
    from bxcache.services.service import Service

_REST_TOKEN = "GITHUB_TOKEN"  # noqa: S105  # a variable's name


_OLDEST_BUILDX, _OLDEST_BUILDKIT = (0, 21), (0, 20)
"""The first that know version 2 of the service; earlier ones leave it out in silence.
https://github.com/docker/buildx/releases/tag/v0.21.0
https://github.com/moby/buildkit/releases/tag/v0.20.0"""


class GhaBackend(ServiceBackend):
    """GitHub's cache service, inside a job of GitHub Actions."""

    kind = "gha"
    name_key = "scope"
    import_mark: ClassVar[str | None] = " from gha:"

    settings: GhaSettings

    @property
    def place(self) -> str:
        return "GitHub's cache service"

    def explain_builder(self, found: Capabilities) -> str | None:
        if self.read_only is not None and not self.is_own_builder:
            return "the file of an untrusted build does not send this job's token elsewhere"
        why = explain_inline_only(found, self.setup.config.builder.name)
        if why is None and self._access is not None and self._access.version == SECOND:
            why = _explain_version(found)
        return why

    @property
    def forwarded(self) -> str:
        return TOKEN

    @property
    def forwards(self) -> bool:
        """Docker passes the job's token on in any case."""
        return True

    def open_service(self) -> Service:
        if self._access is None:
            why = (
                f"this step has no {TOKEN}, which GitHub gives to actions but not to `run` steps; "
                "an action such as `crazy-max/ghaction-github-runtime` before it passes it on"
            )
            if self._is_elsewhere:
                why = "this is not a job of GitHub Actions"
            raise ServiceError(self.place, "opening it", why, trouble=Trouble.REFUSED)
        from bxcache.services.actions import ActionsService  # noqa: PLC0415  # loads HTTP

        return ActionsService(self._access)

    def list_troubles(self, *, saves: bool) -> Iterator[str]:
        if self._is_elsewhere:
            return iter(())
        return super().list_troubles(saves=saves)

    def list_notes(self, settings: BuildSettings, directory: Path) -> Iterator[str]:
        if self._is_elsewhere:
            yield "the gha cache is not used: this is not a job of GitHub Actions"
        yield from super().list_notes(settings, directory)

    def diagnose(self, ask: Callable[[], Capabilities | None], *, saves: bool) -> Iterator[Finding]:
        """Examine the service, inside a job of GitHub Actions."""
        if self._is_elsewhere:
            yield fine("service", "the gha cache is not used: this is not a job of GitHub Actions")
            return
        yield from super().diagnose(ask, saves=saves)

    @property
    def _is_elsewhere(self) -> bool:
        return self._access is None and not self.environment.get("GITHUB_ACTIONS")

    @cached_property
    def _access(self) -> Access | None:
        return find_access(self.settings, self.environment)

    def list_marks(self) -> Iterator[str]:
        if self._access is not None:
            yield self._access.url.rstrip("/")
        # Where GitHub keeps the entries.
        yield ".blob.core.windows.net/actions-cache/"

    def list_secrets(self) -> Iterator[str]:
        names = (TOKEN, *((_REST_TOKEN,) if self.settings.repository else ()))
        yield from filter(None, map(self.environment.get, names))

    def list_attributes(self) -> Iterator[tuple[str, str]]:
        settings = self.settings
        if settings.version is not None:
            yield "version", str(settings.version)
        for name in ("url", "url_v2"):
            value = getattr(settings, name)
            if value is not None:
                yield name, value

    def list_export_attributes(self) -> Iterator[tuple[str, str]]:
        yield "timeout", f"{round(self.settings.timeout * 1000)}ms"
        token = self.environment.get(_REST_TOKEN)
        if self.settings.repository and token:
            yield "repository", self.settings.repository
            yield "ghtoken", token


def _explain_version(found: Capabilities) -> str | None:
    """Explain which program is too old for version 2 of the service; None if none is, as known."""
    versions = [("buildx", found.buildx, _OLDEST_BUILDX)]
    versions += [("BuildKit", each.version, _OLDEST_BUILDKIT) for each in found.builder.nodes]
    for name, text, oldest in versions:
        version = parse_version(text)
        if version is not None and version < oldest:
            needed = ".".join(map(str, oldest))
            return f"{name} {text} does not know version 2 of it; {needed} and later do"
    return None
