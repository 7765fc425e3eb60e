"""Why BuildKit executes a step."""

from __future__ import annotations

from enum import StrEnum


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
    UNFINISHED = "unfinished"
    """The last build failed before it finished this step; the cache has what it did finish."""
    UNKNOWN = "unknown"
    """Nothing that is known of its inputs changed."""


OF_FILES = frozenset(
    (Cause.CONTENT, Cause.ADDED, Cause.GONE, Cause.MODE, Cause.LINK, Cause.IGNORED)
)
"""The causes that are about a file of a build context."""
