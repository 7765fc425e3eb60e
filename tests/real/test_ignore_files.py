"""Tests that ignore files are read as real docker reads them, and of the note about a store in a
context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from bxcache.buildx.context.ignore import IgnoreRules, note_sent
from bxcache.config.models import BuildSettings
from tests.real.machines import Machine

STORE = "dir/.cache"
FILES = (
    *("a", "b.txt", "#note", "!loud", "with space", "a+b", "dir/a", "dir/sub/a", "dir/c.gz", "[x]"),
    *("dir/sub/deep/b.txt", f"{STORE}/index.json", f"{STORE}/keep", "xdir/a", "extra", "st*r"),
)
IGNORED = (
    *("", "a", "./a/", "dir", "/dir/", "dir/*", "dir/**/a", "**", "**/a", "**a", "**/*", "*"),
    *("**/*.txt", "**/.cache", "*/*/a", "?", "[ab]", "[^a]*", "[x]", "\\[x\\]", "#note", " #note"),
    *("\\!loud", " a\t", "a+b", "st\\*r", "../a", ".", "dir/sub/..", "**/sub/**/b.txt", "d**r"),
    *("*\n!a", "*\n!dir/sub/a", "dir\n!a", "dir\n!dir/sub\ndir/sub/deep", "a\n!a\na", "*\n! a"),
    *("dir/*\n!dir/sub", "**/.cache/*\n!**/keep", "\n# x\na\r\nb.txt\r\n", "\ufeffa", "**/x*z"),
)
CHOICES: dict[str, dict[str, str]] = {
    "nested": {".dockerignore": STORE},
    "parent": {".dockerignore": "dir"},
    "anywhere": {".dockerignore": "**/.cache"},
    "negated": {".dockerignore": f"{STORE}\n!dir/.cache/*.json"},
    "mentioned": {".dockerignore": f"# {STORE}\n{STORE}-old\n"},
    "own goes before": {".dockerignore": STORE, "Dockerfile.dockerignore": "a"},
    "own leaves it out": {".dockerignore": "a", "Dockerfile.dockerignore": STORE},
    "own is empty": {".dockerignore": STORE, "Dockerfile.dockerignore": ""},
    "none": {},
}
"""Ignore files of a context that contains a store."""


def write_context(context: Path, ignore_files: Mapping[str, str]) -> None:
    for name in FILES:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).touch()
    (context / "Dockerfile").write_text("FROM scratch\nWORKDIR /all\nCOPY . .\n")
    for name, text in ignore_files.items():
        (context / name).write_text(text, newline="")


def test_files_are_left_out_as_docker_leaves_them_out(machine: Machine, tmp_path: Path) -> None:
    """One bake checks each pattern on each file of a tree, and each possible ignore file."""
    patterns = {f"p{n}": {".dockerignore": text} for n, text in enumerate(IGNORED)}
    contexts = patterns | {name.replace(" ", "-"): files for name, files in CHOICES.items()}
    for name, files in contexts.items():
        write_context(tmp_path / name, files)
    targets: dict[str, dict[str, object]] = {
        name: {"context": name, "output": [f"type=local,dest=out/{name}"]} for name in contexts
    }
    targets["as-another"] = {
        "dockerfile-inline": "FROM scratch\nCOPY --from=nested . /all\n",
        "contexts": {"nested": "nested"},
        "output": ["type=local,dest=out/as-another"],
    }
    bakefile = {"group": {"default": {"targets": [*targets]}}, "target": targets}
    (tmp_path / "docker-bake.json").write_text(json.dumps(bakefile))
    machine.docker("buildx", "bake", folder=tmp_path)

    def list_sent(name: str) -> set[str]:
        return {each for each in FILES if (tmp_path / "out" / name / "all" / each).exists()}

    wrong = {}
    for name, files in patterns.items():
        sent, text = list_sent(name), (tmp_path / name / ".dockerignore").read_bytes().decode()
        seen = {each for each in FILES if not IgnoreRules(text).excludes(each)}
        if seen != sent:
            wrong[files[".dockerignore"]] = (seen - sent, sent - seen)
    assert not wrong
    for name in contexts.keys() - patterns.keys():
        settings = BuildSettings(context=name)
        noted = [*note_sent(tmp_path, settings, tmp_path / name / STORE)]
        assert bool(noted) == (f"{STORE}/index.json" in list_sent(name)), (name, noted)
    assert list_sent("as-another") == list_sent("nested")
