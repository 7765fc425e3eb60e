"""Tests of the house: each room imports only rooms below it, and some modules are the only door."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "bxcache"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the ground up. A room may import from the floors below its own and from itself.
FLOORS = [
    {"bxcache.errors", "bxcache.process", "bxcache.redaction", "bxcache.version"},
    {"bxcache.config", "bxcache.oci"},
    {"bxcache.buildx"},
    {"bxcache.place"},
    {"bxcache.store", "bxcache.registry"},
    {"bxcache.services"},
    {"bxcache.backends"},
    {"bxcache.insight"},
    {"bxcache.pipeline"},
    {"bxcache.api", "bxcache.console"},
    {"bxcache.cli"},
    {"bxcache", "bxcache.__main__"},
]
# `import bxcache` loads nothing: each name is imported on first use.
LAZY = {"bxcache"}


def name_of(path: Path) -> str:
    parts = ["bxcache", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    rooms = {room for floor in FLOORS for room in floor}
    return max((r for r in rooms if module == r or module.startswith(f"{r}.")), key=len)


def floor_of(room: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


def imports_of(path: Path) -> set[str]:
    return imports_of_tree(ast.parse(path.read_text()))


def imports_of_tree(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                joined = f"{node.module}.{alias.name}"
                found.add(joined if is_module(joined) else node.module)
    return found


def is_module(name: str) -> bool:
    path = PACKAGE.parent / Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_every_room_is_described() -> None:
    """CONTRIBUTING.md describes every room."""
    drawn = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    rooms = {name.removeprefix("bxcache.") for floor in FLOORS for name in floor} - LAZY
    missing = {room for room in rooms if not (f"`{room}/`" in drawn or f"`{room}.py`" in drawn)}
    assert missing <= {"__main__"}


def test_every_file_that_the_guide_names_exists() -> None:
    """CONTRIBUTING.md names only files that exist."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text)
    assert len(named) > 12
    roots = (PACKAGE, PACKAGE.parent)
    assert [each for each in named if not any((root / each).is_file() for root in roots)] == []


def test_the_top_of_the_package_has_few_modules() -> None:
    """The package has twelve rooms and at most six modules at the top."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert len(modules) <= 6
    assert len({path.parent for path in PACKAGE.glob("*/__init__.py")}) == 12


def test_modules_have_no_import_cycles() -> None:
    """Modules have no import cycles, including imports in functions and for types only."""
    graph = {name_of(path): imports_of(path) for path in MODULES if name_of(path) not in LAZY}
    sorter = TopologicalSorter({name: each & graph.keys() for name, each in graph.items()})
    assert [*sorter.static_order()]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_rooms_below(path: Path) -> None:
    """A room imports only rooms below it, also for types only."""
    module = name_of(path)
    if module in LAZY:
        return
    own = room_of(module)
    for imported in imports_of(path):
        if not imported.startswith("bxcache"):
            continue
        room = room_of(imported)
        assert room == own or floor_of(room) < floor_of(own), f"{module} imports {imported}"


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("subprocess", "bxcache.process"),
        ("python_on_whales", "bxcache.buildx.builders"),
        ("fcntl", "bxcache.store.locks"),
        ("click", "bxcache.cli"),
        ("platformdirs", "bxcache.config.paths"),
    ],
)
def test_each_door_is_in_one_place(name: str, home: str) -> None:
    """Only one place imports each of subprocess, docker, file locks and the command line."""
    users = {name_of(path) for path in MODULES for i in imports_of(path) if i.split(".")[0] == name}
    assert users
    assert all(user == home or user.startswith(f"{home}.") for user in users)


def test_a_configuration_is_loaded_in_one_place() -> None:
    """Only the trust decision loads a configuration, since a file could be a stranger's."""
    loaders = {name_of(path) for path in MODULES if re.search(r"\bload_setup\b", path.read_text())}
    assert loaders == {"bxcache.config.loading", "bxcache.place.trust"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_are_small(path: Path) -> None:
    """A module has at most 400 lines, and a function at most 60."""
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_only_the_console_and_the_command_line_print() -> None:
    """The library neither prints nor exits."""
    for path in MODULES:
        if room_of(name_of(path)) in ("bxcache.console", "bxcache.cli", "bxcache.__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit", "quit"), name_of(path)
            if isinstance(node, ast.Attribute) and node.attr == "exit":
                raise AssertionError(f"{name_of(path)} exits")


def test_public_names_are_listed() -> None:
    """The public names are in `__all__`, sorted, and have the homes that `__getattr__` uses."""
    package = importlib.import_module("bxcache")
    assert list(package.__all__) == sorted(package.__all__)
    assert set(package.__all__) == set(package._HOMES)
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    typed = {alias.asname: node.module for node in imports for alias in node.names if alias.asname}
    assert typed == {**package._HOMES, "__version__": "bxcache.version"}
    imports = [
        n
        for n in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text()))
        if isinstance(n, ast.ImportFrom)
    ]
    typed = {alias.asname: n.module for n in imports for alias in n.names if alias.asname}
    assert typed == {**package._HOMES, "__version__": "bxcache.version"}
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute `bild`"):
        _ = package.bild


def test_the_package_is_typed() -> None:
    """The package has `py.typed`, so a user's type checker reads its annotations."""
    assert (PACKAGE / "py.typed").exists()


# Records, and what is known from them, are loaded while docker starts.
IMPORTS = (ast.Import, ast.ImportFrom)
BEFORE_DOCKER = ("cli.actions.build", "cli.actions.bake", "pipeline.build", "pipeline.bake")
LIGHT = {"bxcache.insight", "bxcache.insight.causes", "bxcache.insight.earlier"}


def list_loaded(name: str) -> set[str]:
    """List the modules that importing one loads, without imports in functions and for types."""
    waiting, found = [f"bxcache.{name}"], set[str]()
    while waiting:
        path = PACKAGE.parent / Path(*waiting[-1].split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        found.add(waiting.pop())
        own: list[ast.stmt] = [
            node for node in ast.parse(file.read_text()).body if isinstance(node, IMPORTS)
        ]
        loaded = imports_of_tree(ast.Module(own, []))
        waiting += [each for each in loaded if each.startswith("bxcache") and each not in found]
    return found


@pytest.mark.parametrize("name", BEFORE_DOCKER)
def test_no_record_is_loaded_before_docker_starts(name: str) -> None:
    """Loading the models of records takes as long as docker does."""
    assert {each for each in list_loaded(name) if each.startswith("bxcache.insight")} <= LIGHT


def test_what_a_module_loads_is_found() -> None:
    assert "bxcache.insight.record" in list_loaded("pipeline.finish")


KINDS = {"local", "registry", "inline"}
SETTINGS = {"LocalSettings", "RegistrySettings", "InlineSettings"}
# Rooms where a backend is declared or implemented; `buildx/` compares docker's own flags.
DECIDERS = {"bxcache.config", "bxcache.backends", "bxcache.buildx"}


def find_decisions(tree: ast.AST) -> Iterator[str]:
    """Find the code that depends on the kind of a backend."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            texts = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant)]
            if KINDS.intersection(text for text in texts if isinstance(text, str)):
                yield ast.unparse(node)
        elif isinstance(node, ast.Name) and node.id in SETTINGS:
            yield node.id
        elif isinstance(node, ast.MatchValue) and ast.unparse(node.value).strip("'") in KINDS:
            yield ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_backends_know_their_kinds(path: Path) -> None:
    """Only the rooms of backends depend on a backend's kind, so a new kind is one file."""
    if room_of(name_of(path)) not in DECIDERS:
        assert not [*find_decisions(ast.parse(path.read_text()))]


def test_a_decision_on_a_kind_is_found() -> None:
    """A decision on a kind is found in every form."""
    text = """
if each.backend == "local": pass
if each.type in ("registry", "inline"): pass
if isinstance(each, LocalSettings): pass
match kind:
    case "inline": pass
"""
    assert len([*find_decisions(ast.parse(text))]) == 4
