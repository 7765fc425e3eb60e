"""The parts of a record about the inputs of steps: what decides whether BuildKit reuses them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bxcache.insight.document import Part, Text


class RecordedRead(Part):
    """Files of a build context that a step reads."""

    context: Text = "context"
    """The name of the context; the main one is `context`."""

    path: Text
    """An absolute path in it, or a pattern for several."""

    is_pattern: bool = False
    """Whether the path is a pattern."""

    follows: bool = False
    """Whether a symbolic link at the path stands for its target."""

    included: tuple[Text, ...] = ()
    """Patterns of what is read below the path; empty for everything."""

    excluded: tuple[Text, ...] = ()
    """Patterns of what is not read below the path."""

    hash: str = ""
    """A hash of the files; empty if unknown."""


class RecordedInputs(Part):
    """What decides whether a step is reused, apart from the step that it builds on."""

    settings: dict[Text, Text] = Field(default_factory=dict)
    """What other instructions and options set for it: `user`, `folder`, `network` and others."""

    environment: dict[Text, str | None] = Field(default_factory=dict)
    """The variables that it has, with hashes of their values, as for build arguments."""

    definition: str = ""
    """A hash of everything else that it says, with the key of the build arguments."""

    reads: tuple[RecordedRead, ...] = ()
    """The files that it reads of build contexts."""

    needs: tuple[int, ...] = ()
    """The positions of other steps whose files it reads."""

    sources: dict[Text, str] = Field(default_factory=dict)
    """The digests of the images and other remote files that it reads, by their names."""

    bypassing: tuple[Literal["secret", "ssh"], ...] = ()
    """The kinds of mounts that it has whose content does not count."""


class RecordedInstruction(Part):
    """An instruction of the Dockerfile as written."""

    line: int
    """Its first line."""

    verb: Text
    """Its name, such as `RUN`."""

    hash: str
    """A hash of its text, with the key of the build arguments."""

    sets: dict[Text, str] = Field(default_factory=dict)
    """Hashes of what it sets for those after it: of a variable, or of all after `USER` and such."""

    variables: tuple[Text, ...] = ()
    """The names of the variables in it."""


class RecordedFiles(Part):
    """The files of one build context that steps read.

    Each has a state. `f644 HASH` is a file with its mode, `l TARGET` a symbolic link, `d755` a
    folder, `o644 DEVICE` something else, `?` something unreadable. `* HASH COUNT` is a folder whose
    files are too many to list. Owners and times do not count for BuildKit.
    """

    states: dict[Text, Text] = Field(default_factory=dict)
    """The state of each file by its path in the context."""

    ignored: tuple[Text, ...] = ()
    """The patterns of the ignore file."""
