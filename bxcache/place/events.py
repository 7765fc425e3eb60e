"""The event that started a GitHub workflow, read from the file that the runner writes.

https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bxcache.place.files import read_file
from bxcache.place.statement import Found

if TYPE_CHECKING:
    from bxcache.place.variables import Variables

VARIABLE = "GITHUB_EVENT_PATH"


@dataclass(frozen=True, slots=True)
class Event:
    """The content of the event file.

    Attributes:
        document: the event; empty when it could not be read.
        trouble: why it could not be read, or an empty string.
    """

    document: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""

    def look_up(self, path: str) -> object:
        """Return the value at a dotted path, or None."""
        value: object = self.document
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def find(self, path: str) -> Found | None:
        """Return the string or integer at a dotted path, or None."""
        value = self.look_up(path)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            return None
        return Found(str(value), f"{path} in {VARIABLE}")

    def get(self, path: str) -> str:
        """Return the text at a dotted path, or an empty string."""
        found = self.find(path)
        return found.value if found else ""

    def is_null(self, path: str) -> bool:
        """Whether the key at a dotted path exists and is `null`."""
        parent, _, name = path.rpartition(".")
        table = self.look_up(parent)
        return isinstance(table, dict) and name in table and table[name] is None


def read_event(variables: Variables) -> Event:
    """Read the event file; `trouble` says what is wrong with it."""
    import json  # noqa: PLC0415

    path = variables.get(VARIABLE)
    if not path:
        return Event(trouble=f"{VARIABLE} is not set")
    try:
        document = json.loads(read_file(path))
    except OSError as error:
        return Event(trouble=f"the file of {VARIABLE} cannot be read: {error.strerror}")
    except (ValueError, RecursionError, MemoryError):
        return Event(trouble=f"the file of {VARIABLE} is not an event: not JSON, or too large")
    if not isinstance(document, dict):
        return Event(trouble=f"the file of {VARIABLE} is not an event: not a JSON object")
    return Event(document)
