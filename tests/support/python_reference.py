"""The page of all names of the Python API, made from the code."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import cached_property
from typing import Any, is_typeddict

import bxcache
from bxcache.config.schema import read_docstrings
from bxcache.errors import BxcacheError
from tests.bootstrap import ROOT

PAGE = ROOT / "docs" / "python-reference.md"


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BxcacheError)


_HEAD = """\
# Python reference

Every name of `import bxcache`; [Python](python.md) is the guide. What is not listed may change
without notice.

Sizes are bytes, times seconds, moments seconds since 1970. In types:

- `Path` is a text or a `PathLike`.
- `Texts` is one text or several.
- `Size` is a number of bytes or a text such as `5GB`.
- `Seconds` is a number or a text such as `10m`.
- `Backend` is one of the three kinds of backends, a `dict`, or a text as on the command line.

The parts of a `Record` and of a `Report` are in their schemas, those of
[records](../schemas/bxcache-record.schema.json) and of
[reports](../schemas/bxcache-report.schema.json).
"""
_KINDS: dict[str, Callable[[object], bool]] = {
    "Functions": inspect.isfunction,
    "Options": is_typeddict,
    "Errors": _is_error,
    "Results and other values": inspect.isclass,
    "Types of callbacks": lambda _: True,
}
"""The parts of the reference; a name is in the first that fits."""
_SECTIONS = re.compile(r"^(Args|Returns|Raises|Attributes|Example):\n", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): ((?:.|\n(?!    \w+: ))*)", re.MULTILINE)
_LONG = 88


def render_page() -> str:
    """Render `docs/python-reference.md`."""
    return "\n".join((_HEAD, *_render_all()))


def list_names() -> dict[str, list[str]]:
    """Return the public names of each part."""
    parts: dict[str, list[str]] = {part: [] for part in _KINDS}
    for name in bxcache.__all__:
        value = getattr(bxcache, name)
        parts[next(part for part, fits in _KINDS.items() if fits(value))].append(name)
    return parts


def _render_all() -> Iterator[str]:
    for part, names in list_names().items():
        yield f"## {part}\n"
        for name in names:
            yield from _render(name, getattr(bxcache, name))


def _render(name: str, value: Any) -> Iterator[str]:  # noqa: ANN401  # any public value
    yield f"### {name}\n"
    if inspect.isfunction(value):
        yield _render_signature(f"bxcache.{name}", value)
        yield from _render_docstring(value)
    elif is_typeddict(value):
        yield read_head(value) + "\n"
        yield from _tabulate(list_keys(value))
    elif inspect.isclass(value):
        yield read_head(value) + "\n"
        yield from _tabulate(_list_members(value))
        yield from _list_methods(value)
    else:
        yield f"`{_shorten(str(value))}`\n"


def _render_signature(name: str, function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    parameters = [_shorten(str(each)).replace("'", "") for each in signature.parameters.values()]
    kinds = [each.kind for each in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parameters.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    parameters = [each for each in parameters if each not in ("self", "cls")]
    returns = _shorten(str(signature.return_annotation)).replace("'", "")
    line = f"{name}({', '.join(parameters)}) -> {returns}"
    if len(line) > _LONG:
        line = "\n".join([f"{name}(", *(f"    {each}," for each in parameters), f") -> {returns}"])
    return f"```text\n{line}\n```\n"


def _shorten(text: str) -> str:
    """Write a type without the modules of its parts."""
    text = text.replace("NoneType", "None").replace("typing.", "").replace("collections.abc.", "")
    text = re.sub(r"Unpack\[(\w+)\]", r"\1", text)
    return re.sub(r"\b(?:bxcache|datetime|pathlib|os|threading)(?:\.\w+)*\.(\w+)", r"\1", text)


def _split_docstring(value: object) -> dict[str, str]:
    """Return the parts of a docstring by their headings; the first has none."""
    parts = _SECTIONS.split(inspect.getdoc(value) or "")
    return {"": parts[0].strip(), **dict(zip(parts[1::2], parts[2::2], strict=True))}


def read_head(value: object) -> str:
    """Return a docstring without its sections."""
    return _split_docstring(value)[""]


def _render_docstring(value: object) -> Iterator[str]:
    parts = _split_docstring(value)
    yield parts[""] + "\n"
    for heading in ("Args", "Raises"):
        if heading in parts:
            head = ("Argument" if heading == "Args" else "Raises", "Meaning")
            yield from _tabulate(_ENTRY.findall(parts[heading]), head)
    if "Returns" in parts:
        yield f"Returns: {' '.join(parts['Returns'].split())}\n"


def list_keys(value: type) -> list[tuple[str, str, str]]:
    """List the keys of a dictionary: name, type and meaning. The keys of a public base are its own.

    The class itself does not know its bases.
    """
    others = filter(is_typeddict, vars(inspect.getmodule(value)).values())
    own = value.__annotations__
    bases = [each for each in others if each.__annotations__.items() < own.items()]
    known = {key for each in bases if each.__name__[0] != "_" for key in each.__annotations__}
    texts: dict[str, str] = {}
    for each in (*bases, value):
        texts |= read_docstrings(each) | _list_attributes(each)
    return [(key, _name_type(value, key), texts.get(key, "")) for key in own if key not in known]


def _name_type(value: type, key: str) -> str:
    found = value.__annotations__[key]
    text = getattr(found, "__forward_arg__", str(found))
    return _shorten(re.sub(r"^Required\[(.*)\]$", r"\1", text))


def _list_attributes(value: type) -> dict[str, str]:
    return dict(_ENTRY.findall(_split_docstring(value).get("Attributes", "")))


def list_meanings(value: type) -> dict[str, str]:
    """Return the meaning of each attribute of a class."""
    return {name: meaning for name, _, meaning in _list_members(value)}


def _list_members(value: type) -> list[tuple[str, str, str]]:
    """List the attributes of a class: its fields and properties, as far as they are ours."""
    if issubclass(value, Enum):
        texts = read_docstrings(value)
        return [(each.name, f'"{each.value}"', texts.get(each.name, "")) for each in value]
    known = _list_attributes(value)
    rows: dict[str, tuple[str, str]] = {}
    for each in reversed(value.__mro__):
        if not each.__module__.startswith("bxcache."):
            continue
        inherited = _list_attributes(each)
        texts = {**read_docstrings(each), **inherited, **known}
        for name, kind in inspect.get_annotations(each).items():
            if not name.startswith("_") and name != "model_config" and "ClassVar" not in str(kind):
                rows[name] = (_shorten(str(kind)), texts.get(name, ""))
        for name, text in inherited.items():
            rows.setdefault(name, ("", text))
        for name, member in vars(each).items():
            if isinstance(member, property | cached_property) and not name.startswith("_"):
                function = member.fget if isinstance(member, property) else member.func
                kind = inspect.signature(function).return_annotation if function else ""
                rows[name] = (_shorten(str(kind)), texts.get(name) or inspect.getdoc(member) or "")
    return [(name, kind, text) for name, (kind, text) in rows.items()]


def _list_methods(value: type) -> Iterator[str]:
    """Render the public methods of a class that are ours, not those of errors' bases."""
    found: dict[str, Any] = {}
    for each in reversed(value.__mro__):
        if each.__module__.startswith("bxcache.") and not _is_error(each):
            found |= {n: m for n, m in vars(each).items() if not n.startswith("_")}
    own_init = "__init__" in vars(value) and not dataclasses.is_dataclass(value)
    if own_init and not _is_error(value):
        yield _render_signature(value.__name__, vars(value)["__init__"]).replace(" -> None", "")
        yield from _render_docstring(vars(value)["__init__"])
    for name, member in found.items():
        function = member.__func__ if isinstance(member, classmethod) else member
        if inspect.isfunction(function):
            yield _render_signature(f"{value.__name__}.{name}", function)
            yield from _render_docstring(function)


def _tabulate(
    rows: Iterable[Sequence[str]], head: Sequence[str] = ("Name", "Type", "Meaning")
) -> Iterator[str]:
    cells = [[f"`{name}`", *kind, write_sentence(meaning)] for name, *kind, meaning in rows]
    if head[1] == "Type":
        cells = [[name, f"`{kind}`" if kind else "", text] for name, kind, text in cells]
    if cells:
        yield "\n".join(tabulate(head, cells)) + "\n"


def tabulate(head: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    rows = ([cell.replace("|", "\\|") for cell in row] for row in cells)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def write_sentence(text: str) -> str:
    """Write a meaning on one line, as a sentence; the name bxcache stays as it is."""
    text = " ".join(text.split())
    first = text[:1] if text.startswith("bxcache") else text[:1].upper()
    return f"{first}{text[1:].removesuffix('.')}." if text else ""
