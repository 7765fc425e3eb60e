"""The parts of a record about the steps that were executed, and why."""

from __future__ import annotations

from bxcache.config.quantities import WrittenMoment as Moment
from bxcache.config.quantities import WrittenSeconds as Seconds
from bxcache.insight.causes import Cause
from bxcache.insight.document import Part, Text
from bxcache.insight.record_parts import Commit


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
    """The name of the file, the variable or the image; with a `step`, the instruction above it."""

    step: Text = ""
    """A step that runs again although nothing that it reads changes; empty for other advice."""

    files: tuple[Text, ...] = ()
    """The files of the build context that this step reads."""

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
