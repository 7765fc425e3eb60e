"""The house: each room imports only rooms below it, and some doors are the only ones."""

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
    {"bxcache.backends"},
    {"bxcache.insight"},
    {"bxcache.pipeline"},
    {"bxcache.api", "bxcache.console"},
    {"bxcache.cli"},
    {"bxcache", "bxcache.__main__"},
]
# `import bxcache` loads nothing; its names are looked up where they live when they are used.
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
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
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


def test_every_room_is_in_the_picture() -> None:
    """CONTRIBUTING.md tells whoever is new what each of them is for."""
    drawn = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    rooms = {name.removeprefix("bxcache.") for floor in FLOORS for name in floor} - LAZY
    missing = {room for room in rooms if not (f"`{room}/`" in drawn or f"`{room}.py`" in drawn)}
    assert missing <= {"__main__"}


def test_the_top_of_the_package_has_few_modules() -> None:
    """A newcomer sees eleven rooms, the API and the ground that all of them stand on."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert len(modules) <= 6
    assert len({path.parent for path in PACKAGE.glob("*/__init__.py")}) == 11


def test_no_module_imports_itself_through_others() -> None:
    """Neither while it is loaded, nor in a function, nor for its types alone."""
    graph = {name_of(path): imports_of(path) for path in MODULES if name_of(path) not in LAZY}
    sorter = TopologicalSorter({name: each & graph.keys() for name, each in graph.items()})
    assert [*sorter.static_order()]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_rooms_below(path: Path) -> None:
    """Type-only imports count too."""
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
        ("python_on_whales", "bxcache.buildx.driver"),
        ("fcntl", "bxcache.store.locks"),
        ("click", "bxcache.cli"),
        ("platformdirs", "bxcache.config.loading"),
    ],
)
def test_each_door_is_the_only_one(name: str, home: str) -> None:
    """One place talks to processes, one to the file locks, one to the command line."""
    users = {name_of(path) for path in MODULES for i in imports_of(path) if i.split(".")[0] == name}
    assert users
    assert all(user == home or user.startswith(f"{home}.") for user in users)


def test_a_configuration_is_had_by_one_door() -> None:
    """Whoever loads one by itself would take what a stranger's file says at its word."""
    loaders = {name_of(path) for path in MODULES if re.search(r"\bload_setup\b", path.read_text())}
    assert loaders == {"bxcache.config.loading", "bxcache.place.trust"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_are_small(path: Path) -> None:
    """At most 400 lines a module and 60 a function."""
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


def test_exports_are_deliberate() -> None:
    """What is public is in `__all__`, sorted, and where `__getattr__` says."""
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
    """A type checker of a user reads its annotations."""
    assert (PACKAGE / "py.typed").exists()


KINDS = {"local", "registry", "inline"}
SETTINGS = {"LocalSettings", "RegistrySettings", "InlineSettings"}
# Where a backend is declared, and where it is; `buildx/` compares what docker's own flags say.
DECIDERS = {"bxcache.config", "bxcache.backends", "bxcache.buildx"}


def find_decisions(tree: ast.AST) -> Iterator[str]:
    """What asks of which kind a backend is."""
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
    """Another kind is one file and one line; nothing above would have to know it."""
    if room_of(name_of(path)) not in DECIDERS:
        assert not [*find_decisions(ast.parse(path.read_text()))]


def test_a_decision_on_a_kind_is_found() -> None:
    """However it is written."""
    text = """
if each.backend == "local": pass
if each.type in ("registry", "inline"): pass
if isinstance(each, LocalSettings): pass
match kind:
    case "inline": pass
"""
    assert len([*find_decisions(ast.parse(text))]) == 4
