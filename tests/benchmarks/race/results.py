"""What the race has measured: one value for each build, and the document with all of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bootstrap import ROOT

VERSION = "1"


@dataclass(frozen=True)
class Run:
    """One approach's build of one commit.

    Attributes:
        application, round, commit, kind, approach: which one it is.
        restore, build, save: seconds.
        brought, taken: bytes that were moved to the machine and away from it, base images aside.
        kept: bytes that are kept outside afterwards; in a registry, those that its tags need.
        pushed: bytes in the registry, those that no tag needs any more included.
        live: bytes of a fresh export of all stages of this commit; None if unknown.
        reused, executed: steps.
        client, engine: the most bytes in memory of the command that builds, and of the engine with
            the steps, each with its children.
        status: the exit status of the build.
        load: the machine's load average before it.
        phases: the phases that bxcache reports, in seconds; those of one name added up.
    """

    application: str
    round: int
    commit: int
    kind: str
    approach: str
    restore: float
    build: float
    save: float
    brought: int
    taken: int
    kept: int
    pushed: int
    live: int | None
    reused: int
    executed: int
    client: int
    engine: int
    status: int
    load: float
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """All of its seconds."""
        return self.restore + self.build + self.save

    @property
    def history(self) -> tuple[str, int]:
        """The history that it is part of: an application and a round."""
        return self.application, self.round


_PARTS = ("docker.io", "docker-buildx", "containerd", "docker-registry")


def describe_machine(packages: Sequence[str]) -> dict[str, Any]:
    """Describe this machine and the versions of all that takes part.

    Args:
        packages: the packages that engines are made of, as NAME_VERSION_ARCH.
    """
    parts = [package.split("_") for package in packages]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "processors": len(os.sched_getaffinity(0)),
        "memory": int(memory) * 1024,
        "system": platform.platform(),
        "python": platform.python_version(),
        "bxcache": commit.stdout.strip(),
        "engine": ", ".join(f"{part[0]} {part[1]}" for part in parts if part[0] in _PARTS),
    }


def write_document(path: Path, machine: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Write all that is known, at once or not at all."""
    document = {"version": VERSION, "machine": machine, "runs": [asdict(run) for run in runs]}
    aside = path.with_name(f"{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    aside.replace(path)


def read_document(path: Path) -> tuple[dict[str, Any], list[Run]]:
    """Return the machine and the runs of a document."""
    document = json.loads(path.read_text())
    return document["machine"], [Run(**run) for run in document["runs"]]
