"""A container of Azure Blob Storage as a backend: a blob for each scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bxcache.backends.service import ServiceBackend, explain_docker
from bxcache.services.azure_key import CONTAINER, KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.buildx.capabilities import Capabilities
    from bxcache.config.services import AzblobSettings
    from bxcache.services.service import Service


class AzblobBackend(ServiceBackend):
    """A container, with a blob for each scope and for each layer."""

    kind = "azblob"
    name_key = "name"
    import_mark: ClassVar[str | None] = " from azblob:"

    settings: AzblobSettings

    @property
    def place(self) -> str:
        parts = (self.settings.account_url, self.settings.container or CONTAINER)
        return "/".join(each.strip("/") for each in (*parts, self.settings.prefix) if each)

    def explain_builder(self, found: Capabilities) -> str | None:
        return explain_docker(found, self.kind)

    @property
    def forwarded(self) -> str:
        return KEY if self.environment.get(KEY) else ""

    def open_service(self) -> Service:
        from bxcache.services.azure import open_container  # noqa: PLC0415  # loads HTTP

        return open_container(self.settings, self.place, self.environment)

    def list_marks(self) -> Iterator[str]:
        container = self.settings.container or CONTAINER
        yield f"{self.settings.account_url.rstrip('/')}/{container}/"

    def list_secrets(self) -> Iterator[str]:
        yield from filter(None, [self.environment.get(KEY)])

    def list_attributes(self) -> Iterator[tuple[str, str]]:
        for name in (
            "account_url",
            "account_name",
            "container",
            "blobs_prefix",
            "manifests_prefix",
        ):
            value = getattr(self.settings, name)
            if value is not None:
                yield name, value
        if self.settings.prefix:
            yield "prefix", self.settings.prefix
        if self.forwards:
            yield "secret_access_key", self.environment[KEY]
