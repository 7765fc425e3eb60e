"""Builds on new machines in a row: what BuildKit reused without loading it stays in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import busybox_context

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Registry
    from tests.real.conftest import MakeMachine

DOCKERFILE = """\
FROM base AS deps
COPY deps.txt /
RUN ["/bin/sh", "-c", "head -c 50000 /dev/urandom > /deps"]
FROM deps AS compile
COPY src.txt /
RUN ["/bin/sh", "-c", "head -c 50000 /dev/urandom > /out"]
FROM compile AS test
COPY test.txt /
RUN ["/bin/sh", "-c", "head -c 50000 /dev/urandom > /tested"]
FROM scratch AS app
COPY --from=base /bin/busybox /bin/busybox
COPY --from=compile /out /app
COPY --from=test /tested /tested
"""
NOTHING: set[str] = set()
TEST = {"COPY test.txt /", "RUN /tested", "COPY --from=test /tested /tested"}
SOURCE = TEST | {"COPY src.txt /", "RUN /out", "COPY --from=compile /out /app"}
ROUNDS = [("", NOTHING), ("test.txt", TEST), ("", NOTHING), ("src.txt", SOURCE), ("test.txt", TEST)]
"""The file that changes before each build, and the steps that depend on it."""
KINDS = [("oldest", "local"), ("oldest", "registry"), ("docker", "local")]


def list_executed(built: dict[str, Any]) -> set[str]:
    texts = (each["text"] for each in built["steps"] if each["outcome"] == "executed")
    return {f"RUN {text.split()[-1][:-2]}" if text[:3] == "RUN" else text for text in texts}


@pytest.mark.parametrize(("kind", "backend"), KINDS)
def test_each_build_executes_only_what_changed(
    kind: str, backend: str, machines: MakeMachine, registry: Registry, tmp_path: Path
) -> None:
    """With an empty builder each time, a build executes only what follows from the changed file.

    A build without a change leaves the scope as it is, and dead layers go.
    """
    place = {
        "local": f"type=local,dir={tmp_path / 'store'}",
        "registry": f"type=registry,ref={registry.address}/{tmp_path.name.lower()}",
    }
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"{busybox_context(folder)}{DOCKERFILE}")
    for name in ("deps.txt", "src.txt", "test.txt"):
        (folder / name).write_text(str(tmp_path))
    machine = machines(kind)
    before = machine.build("--backend", place[backend], folder=folder)["caches"][0]
    layers = before["layers"]
    for number, (changed, executed) in enumerate(ROUNDS):
        machine.docker("buildx", "prune", "--all", "--force", folder=folder)
        if changed:
            (folder / changed).write_text(f"{tmp_path} {number}")
        built = machine.build("--backend", place[backend], folder=folder)
        (cache,) = built["caches"]
        assert (number, list_executed(built), built["warnings"]) == (number, executed, [])
        assert cache["layers"] == layers
        assert cache["unchanged"] == (not changed)
        assert (cache["digest"] == before["digest"]) == (not changed)
        before = cache


def test_a_reverted_edit_says_what_cannot_be_saved(machines: MakeMachine, tmp_path: Path) -> None:
    """After edit and revert on a builder that was filled from a cache, a note names the steps whose
    layers are nowhere any more; on an emptied builder, exactly these are executed when needed.
    """
    backend = ("--backend", f"type=local,dir={tmp_path / 'store'}")
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"{busybox_context(folder)}{DOCKERFILE}")
    for name in ("deps.txt", "src.txt", "test.txt"):
        (folder / name).write_text(str(tmp_path))
    machine = machines("docker")

    def build() -> str:
        words = ("build", "--network", "none", "--progress", "plain", *backend, ".")
        ran = machine.run(*words, folder=folder)
        return next((line for line in ran.err.splitlines() if "cannot be saved" in line), "")

    assert build() == ""
    machine.docker("buildx", "prune", "--all", "--force", folder=folder)
    assert build() == ""
    (folder / "src.txt").write_text("edited")
    assert build() == ""
    (folder / "src.txt").write_text(str(tmp_path))
    note = build()
    assert note.startswith("note: ")
    machine.docker("buildx", "prune", "--all", "--force", folder=folder)
    (folder / "test.txt").write_text("changed")
    executed = list_executed(machine.build(*backend, folder=folder)) - TEST
    named = {"COPY src.txt /": "COPY src.txt /", "RUN /out": "/out"}
    assert executed == {step for step, text in named.items() if text in note}
    assert executed
