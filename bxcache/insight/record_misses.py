"""The parts of a record about the steps that were executed, and why."""

from __future__ import annotations

from enum import StrEnum

from bxcache.config.quantities import WrittenMoment as Moment
from bxcache.config.quantities import WrittenSeconds as Seconds
from bxcache.insight.document import Part, Text
from bxcache.insight.record_parts import Commit


class Cause(StrEnum):
    """Why a step was executed. The first ones are about the whole build."""

    FIRST_BUILD = "first-build"
    """No build of the scope is known, and no cache was imported."""
    NO_DONOR = "no-donor"
    """There was no cache to import, although the scope was built before."""
    UNREADABLE = "unreadable"
    """The cache could not be read."""
    UNKNOWN_DONOR = "unknown-donor"
    """The cache has no record of the build that made it."""
    NO_CACHE = "no-cache"
    """`--no-cache` or a filter of stages asked for it."""
    FRONTEND = "frontend"
    """Another frontend, or another version of it, read the Dockerfile."""
    PLATFORM = "platform"
    """The cache is for another platform."""
    NEW = "new"
    """The instruction is new."""
    REMOVED = "removed"
    """An instruction before it was removed or moved."""
    TEXT = "text"
    """The text of the instruction changed."""
    ARGUMENT = "argument"
    """The value of a build argument changed."""
    ENVIRONMENT = "environment"
    """The value of another variable changed."""
    SETTING = "setting"
    """Something changed that another instruction or an option sets, such as the user."""
    BASE = "base"
    """The base image, or another image that it reads, changed."""
    REMOTE = "remote"
    """A remote file or repository changed."""
    CONTENT = "content"
    """The content of a file changed."""
    ADDED = "added"
    """A file was added."""
    GONE = "gone"
    """A file was removed."""
    MODE = "mode"
    """Only the mode of a file changed."""
    LINK = "link"
    """The target of a symbolic link changed."""
    IGNORED = "ignored"
    """The ignore file excludes a file that it did not exclude, or the other way round."""
    EVICTED = "evicted"
    """The layer of the step was in the cache once, and is not any more."""
    NOT_EXPORTED = "not-exported"
    """The layer of the step was never saved."""
    UNKNOWN = "unknown"
    """Nothing that is known of its inputs changed."""


class RecordedChange(Part):
    """One thing that changed."""

    cause: Cause
    """What kind of thing it is."""

    name: Text = ""
    """Its name: the path of a file, the name of a variable, an image or a setting."""

    before: Text = ""
    """What it was; empty if it was not there, is a secret or says nothing to people."""

    after: Text = ""
    """What it is, likewise."""


class RecordedMiss(Part):
    """A step that was executed for a reason of its own, or the whole build."""

    step: int | None = None
    """The position of the step; None for the whole build."""

    changes: tuple[RecordedChange, ...] = ()
    """What changed; the first one is the most important."""

    more: int = 0
    """How many other files changed."""

    later: tuple[int, ...] = ()
    """The positions of the steps that were executed only because of this one."""

    seconds: Seconds = 0.0
    """How long all of these steps ran."""


class RecordedAdvice(Part):
    """A cause that made builds of a scope execute steps again and again."""

    cause: Cause
    """What kind of thing changes."""

    name: Text
    """The name of the file, the variable or the image."""

    times: int
    """How many of the builds executed steps for it."""

    builds: int
    """How many builds were looked at."""

    seconds: Seconds
    """How long all of these steps ran, in those builds together."""

    alternates: bool = False
    """Whether a build argument has earlier values again, as in a matrix of builds."""


class RecordedPrediction(Part):
    """How many steps were predicted from the records of earlier builds, and how many rightly."""

    right: int = 0
    """How many steps were reused or executed as predicted."""

    wrong: int = 0
    """How many were not."""

    unknown: int = 0
    """Of how many steps nobody could know."""


class RecordedBasis(Part):
    """The earlier build with which a build is compared: the one whose cache it imported."""

    scope: Text
    """The image, the platforms and the branch that it built, as a tag."""

    branch: Text | None = None
    """Its branch; None without one."""

    commit: Commit = ""
    """The commit that it built; empty if unknown."""

    started: Moment
    """When it began."""
