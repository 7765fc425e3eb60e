"""Why steps were executed: each cause, alone and with another, on a Dockerfile of four stages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.engines import DockerClient
from tests.real.machines import Machine
from tests.real.rebuilds import (
    build_once,
    copy_built,
    name_store,
    rebuild,
    write_base,
    write_files,
    write_new,
)
from tests.real.stages import Shelf

DOCKERFILE = """\
FROM base AS deps
ARG INDEX=main
COPY requirements.txt .
RUN sort requirements.txt > /deps
FROM base AS assets
COPY assets /assets
RUN ls /assets > /listed
FROM base AS build
ARG VERSION=1
ENV MODE=fast
COPY --from=deps /deps /deps
COPY app /app
RUN echo "$MODE" > /built
FROM base
COPY --from=build /built /built
COPY --from=assets /listed /listed
COPY start.sh ./
WORKDIR /home
"""
FILES = (
    *("requirements.txt", "assets/a.css", "assets/b.css", "start.sh"),
    *("app/main.py", "app/other.py", "app/notes.md"),
)
Found = tuple[str | None, str | None, str]
"""A stage, the kind of an instruction, and what changed: a cause and a name."""
Edit = Callable[[Path], None]


def write(path: str, text: str) -> Edit:
    """Return an edit that writes a file."""

    def edit(folder: Path) -> None:
        (folder / path).write_text(text)

    return edit


def replace(old: str, new: str) -> Edit:
    """Return an edit of the Dockerfile."""

    def edit(folder: Path) -> None:
        text = (folder / "Dockerfile").read_text()
        assert old in text
        (folder / "Dockerfile").write_text(text.replace(old, new, 1))

    return edit


def link(folder: Path) -> None:
    """Let a symbolic link have another target."""
    (folder / "app" / "link").unlink()
    (folder / "app" / "link").symlink_to("other.py")


EDITS: dict[str, tuple[Edit, set[Found]]] = {
    "content": (
        write("app/main.py", "other"),
        {("build", "COPY app /app", "content app/main.py")},
    ),
    "of one file": (
        write("requirements.txt", "new"),
        {("deps", "COPY requirements.txt .", "content requirements.txt")},
    ),
    "added": (
        write("assets/new.css", "new"),
        {("assets", "COPY assets /assets", "added assets/new.css")},
    ),
    "gone": (
        lambda folder: (folder / "assets" / "b.css").unlink(),
        {("assets", "COPY assets /assets", "gone assets/b.css")},
    ),
    "mode": (
        lambda folder: (folder / "start.sh").chmod(0o755),
        {("stage-4", "COPY start.sh ./", "mode start.sh")},
    ),
    "mode of a folder": (
        lambda folder: (folder / "assets").chmod(0o700),
        {("assets", "COPY assets /assets", "mode assets")},
    ),
    "link": (link, {("build", "COPY app /app", "link app/link")}),
    "empty folder": (
        lambda folder: (folder / "app" / "empty").mkdir(),
        {("build", "COPY app /app", "added app/empty")},
    ),
    "ignored": (
        write(".dockerignore", "Dockerfile\n.dockerignore\napp/notes.md\n"),
        {("build", "COPY app /app", "ignored app/notes.md")},
    ),
    "text": (
        replace("ls /assets", "ls -a /assets"),
        {("assets", "RUN ls -a /assets > /listed", "text")},
    ),
    "variable": (
        replace("MODE=fast", "MODE=slow"),
        {("build", 'RUN echo "slow" > /built', "environment MODE")},
    ),
    "shell": (
        replace("RUN ls", 'SHELL ["/bin/sh", "-ec"]\nRUN ls'),
        {("assets", "RUN ls /assets > /listed", "setting shell")},
    ),
    "new instruction": (
        replace("COPY app", "RUN echo new\nCOPY app"),
        {("build", "RUN echo new", "new")},
    ),
    "removed instruction": (
        replace("COPY --from=assets /listed /listed\n", ""),
        {("stage-4", "COPY start.sh ./", "removed")},
    ),
}
ARGUMENTS: dict[str, tuple[tuple[str, ...], set[Found]]] = {
    "hosts": (
        ("--add-host", "other:127.0.0.1"),
        {("base", 'RUN ["/bin/busybox", "--install", "-s", "/bin"]', "setting hosts")},
    ),
    "argument": (
        ("--build-arg", "INDEX=other"),
        {("deps", "RUN sort requirements.txt > /deps", "argument INDEX")},
    ),
    "another argument": (
        ("--build-arg", "VERSION=2"),
        {("build", 'RUN echo "fast" > /built', "argument VERSION")},
    ),
}


def write_application(folder: Path) -> None:
    """Write an application of four stages."""
    write_base(folder, DOCKERFILE)
    write_files(folder, FILES)
    (folder / "app" / "link").symlink_to("main.py")


@pytest.fixture(scope="module")
def _built(
    _shared_engine: tuple[DockerClient, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return build_once(_shared_engine, tmp_path_factory.mktemp("built"), write_application)


@pytest.fixture
def app(_built: Path, tmp_path: Path) -> Path:
    """The application, with a store beside it that has its cache."""
    return copy_built(_built, tmp_path)


@pytest.fixture
def new_app(tmp_path: Path) -> Path:
    """The application, which nobody has built."""
    return write_new(tmp_path, write_application)


def find(document: dict[str, Any]) -> set[Found]:
    """Return what the misses of a build name."""
    return {
        (miss["stage"], miss["text"], f"{each['cause']} {each['name']}".strip())
        for miss in document["misses"]
        for each in miss["changes"]
    }


def list_executed(document: dict[str, Any]) -> int:
    """Count the steps that the misses explain."""
    return sum(miss["later"] + (miss["stage"] is not None) for miss in document["misses"])


@pytest.mark.parametrize("name", [*EDITS, *ARGUMENTS])
def test_each_cause_is_named_and_nothing_else(machine: Machine, app: Path, name: str) -> None:
    """An edit makes steps run again, and is named as the only cause."""
    edit, expected = EDITS.get(name, (None, set()))
    words: tuple[str, ...] = ()
    if edit is not None:
        edit(app)
    else:
        words, expected = ARGUMENTS[name]
    document = rebuild(machine, app, *words)
    assert find(document) == expected
    assert list_executed(document) == document["counts"]["executed"]


@pytest.mark.parametrize(
    "pair", list(combinations(EDITS, 2))[:: int(os.environ.get("BXCACHE_TEST_STRIDE", "13"))]
)
def test_two_causes_are_both_named(machine: Machine, app: Path, pair: tuple[str, str]) -> None:
    """Two edits are both named."""
    for name in pair:
        EDITS[name][0](app)
    document = rebuild(machine, app)
    assert find(document) == EDITS[pair[0]][1] | EDITS[pair[1]][1]


@pytest.mark.parametrize("name", ["content", "text", "variable", "removed instruction"])
def test_a_build_that_fails_names_its_causes(machine: Machine, app: Path, name: str) -> None:
    """A failed build names what changed, although BuildKit describes none of its steps."""
    write_failing = replace("COPY start.sh ./", "COPY start.sh ./\nRUN exit 7")
    EDITS[name][0](app)
    write_failing(app)
    document = rebuild(machine, app, status=1)
    expected = EDITS[name][1] | {("stage-4", "RUN exit 7", "new")}
    assert find(document) == expected


def test_an_unchanged_build_has_no_misses(machine: Machine, app: Path) -> None:
    """Times and owners are no causes, nor is the mode of the context's own folder."""
    for path in (app, *app.rglob("*")):
        os.utime(path, (1, 1), follow_symlinks=False)
        os.chown(path, 1000, 1000, follow_symlinks=False)
    app.chmod(0o700)
    assert rebuild(machine, app)["misses"] == []


def test_a_first_build_is_the_cause_of_all(machine: Machine, new_app: Path) -> None:
    first = rebuild(machine, new_app)
    assert find(first) == {(None, None, "first-build image.linux-amd64.no-branch")}
    shutil.rmtree(new_app.parent / "store")
    # The directory remembers that the scope was built before.
    (found,) = find(rebuild(machine, new_app))
    assert found[2].startswith("no-donor")


@pytest.mark.parametrize("kind", ["registry", "inline"])
def test_every_backend_names_the_cause(
    kind: str, machine: Machine, new_app: Path, shelf: Shelf
) -> None:
    """A cache in a registry has the record that a build is compared with."""
    flag, inline = shelf.backend()
    words = (flag, f"type=registry,ref={shelf.ref}") if kind == "registry" else (flag, inline)
    tag = ("--tag", f"{shelf.ref}:app")
    machine.build(*words, *tag, folder=new_app)
    machine.docker("buildx", "prune", "--all", "--force", folder=new_app)
    EDITS["content"][0](new_app)
    document = machine.build(*words, *tag, folder=new_app)
    assert find(document) == EDITS["content"][1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--no-cache",), {(None, None, "no-cache")}),
        (
            ("--no-cache-filter", "assets"),
            {("assets", "COPY assets /assets", "no-cache assets")},
        ),
    ],
)
def test_a_build_without_a_cache_says_who_asked_for_it(
    machine: Machine, app: Path, words: tuple[str, ...], expected: set[Found]
) -> None:
    assert find(rebuild(machine, app, *words)) == expected


def test_an_evicted_layer_is_the_cause(machine: Machine, app: Path) -> None:
    """A store that gives up the lowest layer gives up what builds on it, too."""
    store = ("--from", str(app.parent / "store"))
    machine.run("store", "prune", "--max-size", "500kB", *store, folder=app)
    document = rebuild(machine, app)
    assert ("base", "COPY busybox /bin/busybox", "evicted") in find(document)
    assert {cause for _, _, cause in find(document)} == {"evicted"}


def from_store(folder: Path) -> tuple[str, str]:
    """Return the option that names a store."""
    return "--from", str(folder / "store")


def test_two_checkouts_agree(machine: Machine, app: Path, tmp_path: Path) -> None:
    """Another path, owner, umask for folders above, and other times make no difference."""
    other = tmp_path / "elsewhere" / "app"
    shutil.copytree(app, other, symlinks=True)
    other.chmod(0o700)
    for path in other.rglob("*"):
        os.chown(path, 1234, 1234, follow_symlinks=False)
        os.utime(path, (7, 7), follow_symlinks=False)
    document = rebuild(machine, other, *name_store(app))
    assert (document["misses"], document["counts"]["executed"]) == ([], 0)
    difference = machine.run(
        "diff", "image.linux-amd64.no-branch~1", "--json", *from_store(tmp_path), folder=other
    )
    assert json.loads(difference.out)["files"] == []


def test_a_base_image_that_moved_is_the_cause(
    machine: Machine, new_app: Path, shelf: Shelf, tmp_path: Path
) -> None:
    """A tag that names another image is named with both digests."""
    base = f"{shelf.ref}:base"
    (new_app / "Dockerfile").write_text(f"FROM {base}\nCOPY app /app\nWORKDIR /app\n")
    documents = []
    for content in ("one", "two"):
        folder = tmp_path / content
        folder.mkdir()
        (folder / "file").write_text(content)
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
        output = ("--output", f"type=image,name={base},push=true,registry.insecure=true")
        machine.raw(*output, ".", folder=folder)
        documents.append(rebuild(machine, new_app))
    (miss,) = documents[-1]["misses"]
    (change,) = miss["changes"]
    assert change["cause"] == "base"
    assert change["before"] != change["after"]
