"""The bases of records and reports, and their texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic._internal._model_construction import ModelMetaclass
else:
    # Pydantic exports it under no name.
    ModelMetaclass = type(BaseModel)

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def _escape(value: object) -> object:
    # A name from a variable may hold bytes that are not UTF-8, which JSON cannot contain.
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value


Text = Annotated[str, BeforeValidator(_escape)]


def shorten(text: str, longest: int) -> str:
    """Cut a text to a number of characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


_OTHERS = frozenset(dir(BaseModel)) - frozenset(dir(object))


def _list_own(names: Iterable[str]) -> list[str]:
    return [each for each in names if each not in _OTHERS and "pydantic" not in each]


class _Shown(ModelMetaclass):
    """Keeps the names of pydantic out of `dir` and `help`: they can change with its version."""

    def __dir__(cls) -> list[str]:  # noqa: N805  # it is a class of classes
        return _list_own(super().__dir__())


class Document(BaseModel, metaclass=_Shown):
    """The base of records and reports."""

    model_config = ConfigDict(frozen=True)

    def __dir__(self) -> list[str]:
        return _list_own(super().__dir__())


class Part(Document):
    """The base of records and their parts, which keep the keys of later versions."""

    model_config = ConfigDict(extra="allow", frozen=True)
