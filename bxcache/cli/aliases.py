"""The spellings of earlier versions, which work until the next one and are in no help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

ALIASES: dict[str, dict[str, str]] = {
    "key": {"--dir": "--from"},
    "registry": {"--ref": "--from"},
    "store": {"--dir": "--from", "collect": "prune"},
}
"""The new spelling of each old one, by the command or the group of commands that has it."""


def accept_aliases(name: str) -> dict[str, Any]:
    """Settings of click's context with which a command, or a group, takes its old spellings.

    https://click.palletsprojects.com/en/stable/advanced/#token-normalization
    """
    aliases = ALIASES.get(name)
    return {"token_normalize_func": lambda word: _rename(word, aliases)} if aliases else {}


def _rename(word: str, aliases: Mapping[str, str]) -> str:
    """The new spelling of a command or an option, of which click leaves out the dashes."""
    for old, new in aliases.items():
        if word == old.lstrip("-"):
            _warn(old, new)
            return new.lstrip("-")
    return word


def _warn(old: str, new: str) -> None:
    context = click.get_current_context(silent=True)
    # A shell that asks for completions wants no warnings.
    if context is None or not context.resilient_parsing:
        from bxcache.cli.job_log import say  # noqa: PLC0415  # few write an old spelling

        say(f"warning: write `{new}` instead of `{old}`, which the next version does not know")
