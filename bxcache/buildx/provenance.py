"""The format of a provenance: where its steps are in the Dockerfile, and what they change.

https://github.com/moby/buildkit/blob/v0.25.2/solver/llbsolver/provenance/types/types.go
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from bxcache.buildx.stream.raw import decode_text
from bxcache.buildx.values import as_list, as_number, as_table, read_items, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BUILDKIT = "https://mobyproject.org/buildkit@v1#metadata"
_CONTEXT, _INPUT = "context:", "input:"


def convert_provenance(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Convert what bxcache reads from SLSA 1 to SLSA 0.2 form, as buildx's `ConvertToSLSA02`."""
    definition = as_table(provenance.get("buildDefinition"))
    if not definition:
        return provenance
    details = as_table(provenance.get("runDetails"))
    asked = as_table(definition.get("externalParameters")).get("request")
    noted = as_table(details.get("metadata")).get("buildkit_metadata")
    return {
        "buildConfig": as_table(definition.get("internalParameters")).get("buildConfig"),
        "invocation": {"parameters": asked},
        "materials": definition.get("resolvedDependencies"),
        "metadata": {BUILDKIT: noted},
    }


class Sources:
    """The Dockerfiles of one definition's operations: its own, and those of linked builds."""

    def __init__(self, noted: Mapping[str, Any], steps: Iterable[str]) -> None:
        """Find the definition's own Dockerfile: the one with the last of its steps."""
        texts = [decode_text(as_table(each).get("data")) for each in as_list(noted.get("infos"))]
        self._locations = as_table(noted.get("locations"))
        found = map(self._find_locations, steps)
        located = (max(map(_find_source, each), default=None) for each in found)
        own = ([each for each in located if each is not None] or [0])[-1]
        self.text = texts[own] if 0 <= own < len(texts) else ""
        # Two targets of a bake may have one Dockerfile.
        self._own = {own, *(at for at, text in enumerate(texts) if text == self.text)}

    def read_lines(self, step: str) -> tuple[int, ...]:
        """Return a step's lines in the definition's own Dockerfile."""
        lines: list[int] = []
        for each in self._find_locations(step):
            if _find_source(each) in self._own:
                starts = (as_table(span.get("start")) for span in read_items(each, "ranges"))
                found = (start.get("line") for start in starts)
                lines += sorted(line for line in found if isinstance(line, int))[:1]
        return tuple(lines)

    def is_elsewhere(self, step: str) -> bool:
        """Whether a step is only in other Dockerfiles."""
        found = {_find_source(each) for each in self._find_locations(step)}
        return bool(found) and not found & self._own

    def _find_locations(self, step: str) -> list[dict[str, Any]]:
        return read_items(as_table(self._locations.get(step)), "locations")


def _find_source(location: Mapping[str, Any]) -> int:
    return as_number(location.get("sourceIndex"))


def find_inputs(op: Mapping[str, Any], count: int) -> tuple[int | None, int | None]:
    """Find the inputs that an operation changes and adds on top; a zero is often omitted."""
    if "exec" in op:
        mounts = read_items(as_table(op["exec"]), "mounts")
        root = next((each for each in mounts if each.get("dest") == "/"), {})
        return as_number(root.get("input")), None
    if "merge" in op:
        inputs = read_items(as_table(op["merge"]), "inputs")
        merged = [as_number(each.get("input")) for each in inputs]
        return (merged[0], merged[-1]) if merged else (None, None)
    if "file" in op:
        actions = read_items(as_table(op["file"]), "actions")
        done = [each for each in actions if not as_number(each.get("output"))]
        at = as_number(done[-1].get("input")) if done else None
        # An index past the inputs is the result of an earlier action.
        for _ in actions:
            if at is None or not count <= at < count + len(actions):
                break
            at = as_number(actions[at - count].get("input"))
        return at, None
    return None, None


def read_images(provenance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names and digests of images, from URLs like `pkg:docker/busybox@1?platform=…`."""
    for material in read_items(provenance, "materials"):
        uri = unquote(read_text(material, "uri").partition("?")[0])
        digest = read_text(as_table(material.get("digest")), "sha256")
        kind, _, name = uri.partition("/")
        if kind == "pkg:docker" and name and digest:
            yield name.replace("@", ":", 1), f"sha256:{digest}"


def read_fetched(provenance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield addresses and digests of repositories and other remote files."""
    for material in read_items(provenance, "materials"):
        uri = read_text(material, "uri")
        for kind, digest in as_table(material.get("digest")).items():
            if not uri.startswith("pkg:"):
                yield uri, f"{kind}:{digest}"


def find_frontend(provenance: Mapping[str, Any], images: Mapping[str, str]) -> str:
    """Find the image of a `# syntax=` line with its digest; empty for the built-in frontend."""
    parameters = as_table(as_table(provenance.get("invocation")).get("parameters"))
    name = read_text(as_table(parameters.get("args")), "source")
    if read_text(parameters, "frontend") != "gateway.v0" or not name:
        return ""
    known = (digest for image, digest in images.items() if f"/{name}".endswith(f"/{image}"))
    return name if "@" in name else f"{name}@{next(known, '')}"


def read_links(provenance: Mapping[str, Any]) -> Iterator[str]:
    """Yield named contexts that are results of builds: `context:base` is `input:0-base`."""
    # https://github.com/moby/buildkit/blob/v0.25.2/frontend/dockerui/namedcontext.go
    parameters = as_table(as_table(provenance.get("invocation")).get("parameters"))
    for name, value in as_table(parameters.get("args")).items():
        if name.startswith(_CONTEXT) and str(value).startswith(_INPUT):
            # For a single platform it is `context:base::linux/amd64`.
            yield name.removeprefix(_CONTEXT).partition("::")[0]
