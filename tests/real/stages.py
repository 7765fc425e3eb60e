"""A registry's content for a scope whose stages are images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Registry

_MANIFESTS = (
    *("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"),
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
SCOPE = "image.linux-amd64.no-branch"
"""Of an image that is built outside of git."""


@dataclass(frozen=True)
class Shelf:
    """A repository of its own, read through the registry's API.

    Attributes:
        registry: the registry.
        name: the repository.
        address: the address at which builds reach it.
    """

    registry: Registry
    name: str
    address: str

    @classmethod
    def of(cls, registry: Registry, folder: Path, address: str = "") -> Shelf:
        """Return the repository of a test, named after its folder."""
        return cls(registry, folder.name.lower(), address or registry.address)

    @property
    def ref(self) -> str:
        """The repository, as in the name of an image."""
        return f"{self.address}/{self.name}"

    def backend(self, **more: str) -> tuple[str, str]:
        """Return the flag that keeps all stages here."""
        text = f"type=inline,ref={self.ref},stages=all"
        return "--backend", ",".join([text, *(f"{key}={value}" for key, value in more.items())])

    def tags(self) -> dict[str, str]:
        """Return the digest of every tag except the labels."""
        body = self.registry.ask("GET", f"/v2/{self.name}/tags/list").body
        named = [tag for tag in json.loads(body).get("tags") or () if not tag.endswith(".bxcache")]
        return {tag: self._ask("manifests", tag)[0] for tag in named}

    def stages(self, scope: str = SCOPE) -> set[str]:
        """Return the stages that have images beside a scope's."""
        return {tag[len(scope) + 1 :] for tag in self.tags() if tag.startswith(f"{scope}.")}

    def manifest(self, tag: str) -> dict[str, Any]:
        """Return the manifest of a tag."""
        return self._ask("manifests", tag)[1]

    def layers(self, tag: str) -> list[str]:
        """Return the layers of an image, from the bottom."""
        return [each["digest"] for each in self.manifest(tag)["layers"]]

    def diff_ids(self, tag: str) -> list[str]:
        """Return the digests of the layers' content, regardless of compression."""
        config = self._ask("blobs", self.manifest(tag)["config"]["digest"])[1]
        found: list[str] = config["rootfs"]["diff_ids"]
        return found

    def _ask(self, kind: str, name: str) -> tuple[str, dict[str, Any]]:
        path = f"/v2/{self.name}/{kind}/{name}"
        answer = self.registry.ask("GET", path, headers={"Accept": ", ".join(_MANIFESTS)})
        assert answer.status == 200, (path, answer)
        return answer.headers.get("Docker-Content-Digest", ""), json.loads(answer.body)


STAGES = {"base", "deps", "build", "stage-4"}
"""The stages of the tests' project that its image needs; the last has no name."""
KINDS = ["classic", "docker", "docker-container"]


def told(built: dict[str, Any]) -> tuple[bool, bool, bool, bool]:
    """Return whether the only cache was read, saved, found unchanged, and saved as an alias."""
    (cache,) = built["caches"]
    return cache["imported"], cache["exported"], cache["unchanged"], cache["aliased"]


SAVED, UNCHANGED = (False, True, False, False), (True, False, True, False)
