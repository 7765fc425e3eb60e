"""Texts name options in the words of their reader: flags in a shell, parameters in Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bxcache
from bxcache.cli.commands import load_command
from bxcache.cli.main import run
from bxcache.config.wording import Speech, name_call, name_option, speaking
from bxcache.pipeline.options import BakeOptions, BuildOptions
from tests.unit.test_structure import MODULES, name_of, room_of

SHELL = re.compile(r"(?<![\w-])--[a-z]|`-[a-z]`|`bxcache [a-z]")
"""A flag, or a command of bxcache."""
OTHERS = re.compile(r"`(?:docker|git) [^`]*`")
"""A command of another program, which is one in Python too."""
ONLY_IN_A_SHELL = {
    "bxcache.backends.equivalents": "the backends that do what docker's cache flags do",
    "bxcache.backends.location": "which store or registry a command works on",
    "bxcache.pipeline.extract": "`history --export`",
    "bxcache.pipeline.survey": "`init`",
    "bxcache.place.repository": "`registry prune --gone`",
}
"""Modules whose texts only a command of the command line shows."""
CHOSEN = "`bxcache config s"
"""`config show` and `config schema`, which Python has no function for."""


def list_texts(path: Path) -> Iterator[str]:
    """Return the texts of a module for people, without docstrings and what only a shell shows."""
    tree = ast.parse(path.read_text())
    hidden: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            hidden |= {*ast.walk(node)} if isinstance(node.value, ast.Constant) else set()
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "choose_words":
            hidden |= {*ast.walk(node.args[0])}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and node not in hidden:
            parts = [p for p in node.values if isinstance(p, ast.Constant) and p not in hidden]
            hidden |= {*parts}
            yield "…".join(str(each.value) for each in parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in hidden:
            yield node.value


def speaks_shell(text: str) -> bool:
    """Whether a text for people has words of a shell, beside a command of another program."""
    rest = OTHERS.sub("", text).replace(CHOSEN, "")
    return " " in rest.strip() and bool(SHELL.search(rest))


LIBRARY = [
    path
    for path in MODULES
    if room_of(name_of(path)) not in ("bxcache.cli", "bxcache.console")
    and name_of(path) not in ONLY_IN_A_SHELL
]


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_no_text_of_the_library_spells_a_flag(path: Path) -> None:
    """A text takes the names of options and calls from `config/wording.py`."""
    assert [text for text in list_texts(path) if speaks_shell(text)] == []


@pytest.mark.parametrize("text", ["give `--tag` too", "or `-f` here", "run `bxcache build` first"])
def test_words_of_a_shell_are_found(text: str, tmp_path: Path) -> None:
    """Each form of a flag or a command is found in a text."""
    path = tmp_path / "module.py"
    path.write_text(
        f'"""Docs of `--a`."""\nX = f"{text} {{1}}"\nY = choose_words("`--a b`", "c")\n'
    )
    assert [each for each in list_texts(path) if speaks_shell(each)] == [f"{text} "]


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"tags": 5}, "tags=: build.tags: must be a list, not a value of type `int`"),
    ({"tags": ["a", 5]}, "tags=: build.tags[1]: must be a `str`, not a value of type `int`"),
    ({"no_cache_filter": 3}, "no_cache_filter=: build.no_cache_filter: must be a list"),
    ({"push": "yes"}, "push=: build.push: must be `True` or `False`, not a value of type `str`"),
    ({"build_args": {"A": 1}}, "build_args=: build.build_args.A: must be a `str`"),
    ({"build_args": ["A=1"]}, "build_args=: build.build_args: must be a `dict`"),
    ({"build_args": {"A=": "1"}}, "a name must not be empty or contain `=`"),
    ({"secrets": 5}, "secrets=: build.secrets: must be a list"),
    ({"outputs": [5]}, "outputs=: build.outputs[0]: must be a `str`"),
    ({"outputs": "-"}, "outputs=: build.outputs: the image would go to stdout"),
    ({"outputs": "cache/blobs"}, "outputs=: "),
    ({"iidfile": "cache/index.json"}, "iidfile=: "),
    ({"metadata_file": Path("cache/index.json")}, "metadata_file=: "),
    ({"extra": ["--cache-to", "type=local,dest=cache"]}, "extra=: "),
    ({"gate": 5}, "gate=: gate: must be a `dict`"),
    ({"gate": "max_size"}, "gate=: write it `NAME=VALUE`"),
    ({"gate": {"max_size": "big"}}, "gate=: gate.max_size: `big` is not a size"),
    ({"gate": {"min_hit_ration": 1.0}}, "is unknown; did you mean `min_hit_ratio`?"),
    ({"backends": "local"}, "backends=: write each field as `key=value`"),
    ({"backends": 5}, "backends=: cache.backends: must be a list"),
    ({"backends": {"type": "registry"}}, "backends=: cache.backends[0].ref: is required"),
    ({"backends": [{"type": "s3"}]}, "backends=: cache.backends[0].bucket: is required"),
    ({"backends": [{"type": "local"}] * 2}, "only one `local` backend is allowed"),
    ({"write": "sometimes"}, "write=: cache.write: must be `always`, `trusted` or `never`"),
    ({"read": "brunch"}, "read=: cache.read[0]: must be"),
    ({"git_tag": 5}, "git_tag=: place.tag: must be a `str`"),
    ({"trusted": "no"}, "trusted=: place.trusted: must be `True` or `False`"),
    ({"tagz": "a"}, "tagz=: build.tagz: is unknown; did you mean `tags`?"),
    ({"dockerfile": "x"}, "dockerfile=: build.dockerfile: docker calls it `file`"),
    ({"check": True}, 'check=: build.check: docker then answers instead of building; give `call="'),
    ({"cache_to": "x"}, "cache_to=: build.cache_to: a cache is declared"),
    ({"image": "web"}, "image=: `web` is not declared in [images]; known: `api`"),
    ({"extra": "--progress=plain"}, "extra=: --progress: bxcache reads the stream; `observe=`"),
    ({"timeout": 0}, "timeout=: must be more than 0 seconds"),
    ({"timeout": float("nan")}, "timeout=: must be more than 0 seconds"),
    ({"call": "build"}, "call=: `build` is not a question"),
]
"""Arguments of `build` that are refused, and what the error says."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an image and a store."""
    (tmp_path / "bxcache.toml").write_text(
        '[images.api]\n[[cache.backends]]\ntype = "local"\ndir = "cache"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("arguments", "words"), REFUSALS, ids=str)
def test_a_refusal_names_the_parameter(arguments: dict[str, Any], words: str) -> None:
    """Each refused argument is a ConfigError that names it, without any word of a shell."""
    with pytest.raises(bxcache.ConfigError) as caught:
        # Nothing but the check of its arguments comes before docker is asked.
        bxcache.build(**{"call": "check", **arguments})
    said = str(caught.value)
    assert words in said
    assert caught.value.exit_status == 78
    own = said.replace("extra=: --progress", "")
    assert not SHELL.search(own), said


def test_all_refused_arguments_are_named_at_once(here: Path) -> None:
    """One error has the problems of texts and of types, each with its parameter."""
    with pytest.raises(bxcache.ConfigError) as caught:
        bxcache.build(directory=here, call="check", gate="x", backends="y")
    assert [each.source for each in caught.value.problems] == ["gate=", "backends="]


@pytest.mark.parametrize("question", ["--check", "--call=outline", "--print"])
def test_a_question_among_the_arguments_is_refused(question: str, here: Path) -> None:
    """The hint names the parameter that has docker answer."""
    with pytest.raises(bxcache.ConfigError) as caught:
        bxcache.build(here, extra=question)
    assert '`bxcache.build(call="check")` returns docker\'s answer' in caught.value.hint
    assert not SHELL.search(OTHERS.sub("", caught.value.hint))


def test_every_option_is_a_flag() -> None:
    """Each option of a build and of a bake has the flag that a shell is told."""
    for command, options in (("build", BuildOptions), ("bake", BakeOptions)):
        flags = {flag for each in load_command(command).params for flag in each.opts}
        with speaking(Speech.SHELL):
            named = {name_option(name) for name in options.__annotations__}
        assert named - flags <= {"--directory"}


def test_the_command_line_speaks_flags(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same refusal names a flag on the command line, and Python's words are back afterwards."""
    assert run(["build", "--check", "--gate", "max_size=big"]) == 78
    assert "--gate max_size: gate.max_size: `big`" in capsys.readouterr().err
    assert name_call("build", str(here)) == f'bxcache.build("{here}")'
