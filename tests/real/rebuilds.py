"""Builds of an application whose cache is there already, on a machine without any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.engines import DockerClient, busybox_context
from tests.real.machines import Machine

STORE = "store"


def write_base(folder: Path, dockerfile: str) -> None:
    """Write a Dockerfile with a first stage `base`, which no other build has a step in common with.

    Pruning a builder leaves what images have.
    """
    base = busybox_context(folder).replace("COPY", "COPY stamp /stamp\nCOPY", 1)
    (folder / "stamp").write_text(uuid4().hex)
    (folder / "Dockerfile").write_text(base + dockerfile)
    (folder / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")


def write_files(folder: Path, names: tuple[str, ...]) -> None:
    """Write files whose content is their name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}\n")
        (folder / name).chmod(0o644)


def list_steps(document: dict[str, Any], *outcomes: str) -> set[tuple[str, str]]:
    """Return the stage and the text of each step with one of these outcomes."""
    return {(s["stage"], s["text"]) for s in document["steps"] if s["outcome"] in outcomes}


def name_store(folder: Path) -> tuple[str, str]:
    """Return the option that names the store beside an application."""
    return "--backend", f"type=local,dir={folder.parent / STORE}"


def rebuild(machine: Machine, folder: Path, *words: str, status: int = 0) -> dict[str, Any]:
    """Build from the store beside an application alone, or another one, and save to it."""
    machine.docker("buildx", "prune", "--all", "--force", folder=folder)
    store = () if "--backend" in words else name_store(folder)
    output = ("--output", "type=cacheonly")
    return machine.build(*store, *output, *words, folder=folder, status=status)


def write_new(folder: Path, write: Callable[[Path], None]) -> Path:
    """Write an application to a new folder `app`, and return it."""
    app = folder / "app"
    app.mkdir()
    write(app)
    return app


def build_once(
    started: tuple[DockerClient, str], folder: Path, write: Callable[[Path], None]
) -> Path:
    """Write an application, and build it with an engine; return the folder with it and its store.

    Args:
        started: the engine, and the name of its builder.
        folder: an empty folder.
        write: writes the application.
    """
    engine, builder = started
    rebuild(Machine(engine, folder / "home", builder), write_new(folder, write))
    return folder


def copy_built(built: Path, folder: Path) -> Path:
    """Copy an application and its store, and return the application."""
    for name in ("app", STORE):
        shutil.copytree(built / name, folder / name, symlinks=True)
    return folder / "app"
