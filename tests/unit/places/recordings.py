"""Reads the recordings. In an environment `{name}` is the path of the case's file of that name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bxcache.place.place import Place
from bxcache.process import Answer

FOLDER = Path(__file__).parent
PROVIDERS = sorted(path.stem for path in FOLDER.glob("*.json"))
ORIGIN_HEAD = "refs/remotes/origin/HEAD"


@dataclass(frozen=True)
class Recording:
    """One build at a provider, and the place that a person reads from it."""

    provider: str
    name: str
    variables: Mapping[str, str]
    files: Mapping[str, str]
    expected: Place

    def __str__(self) -> str:
        return f"{self.provider}: {self.name}"

    def write(self, folder: Path) -> dict[str, str]:
        """Put the files where the build has them; the environment that names them."""
        paths = {f"{{{name}}}": str(folder / name) for name in self.files}
        for name, source in self.files.items():
            text = (FOLDER / source).read_text()
            (folder / name).write_text(_fill(text, paths) if "properties" in source else text)
        return {name: _fill(value, paths) for name, value in self.variables.items()}


def _fill(text: str, paths: Mapping[str, str]) -> str:
    for name, path in paths.items():
        text = text.replace(name, path)
    return text


def read_recordings(provider: str) -> list[Recording]:
    """All builds of a provider."""
    document = json.loads((FOLDER / f"{provider}.json").read_text())
    return [_read(provider, document["common"], case) for case in document["cases"]]


def read_recording(provider: str, number: int = 0) -> Recording:
    """One build of a provider; the first is that of a branch."""
    return read_recordings(provider)[number]


def _read(provider: str, common: dict[str, str], case: dict[str, Any]) -> Recording:
    variables = {**common, **case["environment"]}
    variables = {name: value for name, value in variables.items() if value is not None}
    expected = case["expected"]
    place = Place(**{**expected, "notes": tuple(expected["notes"])})
    return Recording(provider, case["name"], variables, case.get("files", {}), place)


@dataclass
class Git:
    """What git would say, and what it was asked."""

    head: str = ""
    refs: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    failure: OSError | None = None
    refusal: str = ""
    asked: list[str] = field(default_factory=list)

    def __call__(self, arguments: Sequence[str], directory: Path) -> Answer:
        assert isinstance(directory, Path)
        self.asked.append(arguments[0])
        if self.failure is not None:
            raise self.failure
        if self.refusal:
            return Answer(128, "", self.refusal)
        if arguments[0] == "symbolic-ref":
            return Answer(0 if self.head else 1, f"{self.head}\n" if self.head else "", "")
        if arguments[-1] == "refs/tags":
            return Answer(0, "".join(f"{tag}\n" for tag in self.tags), "")
        lines = (f"{name} {target}\n" for name, target in self.refs.items() if name in arguments)
        return Answer(0, "".join(lines), "")


def make_clone() -> Git:
    """A detached checkout, as in CI, of a repository whose default branch is main."""
    main = "refs/remotes/origin/main"
    return Git(refs={ORIGIN_HEAD: main, main: ""})
