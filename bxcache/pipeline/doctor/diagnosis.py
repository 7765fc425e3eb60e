"""Examine docker, its builder, the configuration, the place and the caches, and mend what is safe.

All checks run side by side, each with a time limit; none depends on the result of another.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.backends.clock import CHECK as CLOCK
from bxcache.backends.declared import list_backends
from bxcache.backends.finding import SECONDS_TO_ANSWER, Finding, Status, fine
from bxcache.buildx.secrets import find_mentioned
from bxcache.config.json_documents import make_document
from bxcache.errors import BxcacheError
from bxcache.pipeline.doctor.checks import Check, Pending, explain_crash, run_checks
from bxcache.pipeline.doctor.docker import Wanted, find_docker, judge_docker
from bxcache.pipeline.doctor.logins import diagnose_settings
from bxcache.pipeline.doctor.project import judge_project, open_project
from bxcache.pipeline.prepare import BUILDX_BUILDER
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from bxcache.backends.base import Backend
    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.driver import Docker, Examination
    from bxcache.pipeline.doctor.project import Project

_BUILDER = ("build", "builder")
_SECONDS_REMOTE = 2 * SECONDS_TO_ANSWER + 1
"""For a backend of a network: its credential helper, then its server."""
_SECONDS_LOCAL = 60.0
_ORDER = (Status.OK, Status.WARNING, Status.ERROR)


class Mended(Struct, frozen=True):
    """What the doctor did about a finding.

    Attributes:
        check: the check of the finding.
        did: what was done, in lines.
        error: why it could not be mended; None if it was.
    """

    check: str
    did: tuple[str, ...] = ()
    error: str | None = None


class Diagnosis(Struct, frozen=True):
    """The result of an examination.

    Attributes:
        findings: what was found, in the order of the checks; after mending, the state after it.
        mended: what was done about findings, if that was asked for.
        seconds: how long it took.
    """

    findings: tuple[Finding, ...]
    mended: tuple[Mended, ...] = ()
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        """The worst status of all findings."""
        return max((each.status for each in self.findings), key=_ORDER.index, default=Status.OK)

    @property
    def counts(self) -> dict[Status, int]:
        """How many findings have each status."""
        counted = Counter(each.status for each in self.findings)
        return {status: counted[status] for status in _ORDER}

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache doctor --json` prints."""
        mended = [
            {"check": each.check, "did": each.did, "error": each.error} for each in self.mended
        ]
        return make_document(
            {
                "status": self.status,
                "counts": self.counts,
                "findings": [each.to_dict() for each in self.findings],
                "mended": mended,
                "seconds": round(self.seconds, 3),
            }
        )


def find_diagnosis(directory: Path, config_file: Path | None, *, fix: bool) -> Diagnosis:
    """Examine everything that a build in a directory depends on; with `fix`, mend what is safe."""
    begun = time.monotonic()
    findings = _examine(directory, config_file)
    mended = tuple(_mend(each) for each in findings if fix and each.mend is not None)
    if mended:
        findings = _examine(directory, config_file)
    return Diagnosis(findings, mended, time.monotonic() - begun)


def _mend(finding: Finding) -> Mended:
    try:
        done = tuple(finding.mend() if finding.mend else ())
        return Mended(finding.check, tuple(_redact_text(each) for each in done))
    except BxcacheError as error:
        why = "; ".join(filter(None, (error.message, error.hint)))
        return Mended(finding.check, error=_redact_text(why))
    except Exception as error:  # noqa: BLE001  # the state after it is shown all the same
        return Mended(finding.check, error=_redact_text(f"{type(error).__name__}: {error}"))


def _examine(directory: Path, config_file: Path | None) -> tuple[Finding, ...]:
    project: Project | None = None
    first: list[Finding] = []
    try:
        project = open_project(directory, config_file)
        first += judge_project(project)
        backends = list_backends(project.setup) if project.error is None else ()
    except Exception as error:  # noqa: BLE001  # the other checks go on
        first, backends = [explain_crash("config", "the configuration", error)], ()
    make = partial(_make_builder, directory, config_file)
    checks = tuple(_list_checks(project, backends, make))
    found = [*first, *run_checks(checks)]
    if not any(each.check == CLOCK for each in found):
        found.append(fine(CLOCK, "unknown; there is nothing here to compare it with"))
    secrets = Pending(lambda: [each for backend in backends for each in backend.list_secrets()])
    known = secrets.wait(SECONDS_TO_ANSWER) or []
    return tuple(_redact(each, known) for each in _merge(found))


def _list_checks(
    project: Project | None, backends: Sequence[Backend], make: Callable[[], Iterable[str]]
) -> Iterator[Check]:
    docker = find_docker()
    limit = SECONDS_TO_ANSWER + 1
    if isinstance(docker, Finding):
        yield Check("docker", "docker", limit, partial(iter, (docker,)))
        known: Pending[Examination] | None = None
    else:
        wanted = _find_wanted(project, backends)
        known = Pending(partial(docker.examine, wanted.builder, SECONDS_TO_ANSWER))
        judge = partial(_diagnose_docker, docker, known, wanted, make)
        yield Check("docker", "docker", limit, judge)
    yield Check("docker-config", "docker's config file", 2 * limit, partial(_diagnose_settings))
    saves = project is not None and project.trust.writes
    for each in backends:
        seconds = _SECONDS_REMOTE if each.is_remote else _SECONDS_LOCAL
        run = partial(each.diagnose, partial(_recall, known), saves=saves)
        yield Check(each.kind, f"the {each.kind} cache", seconds, run)


def _diagnose_docker(
    docker: Docker,
    known: Pending[Examination],
    wanted: Wanted,
    make: Callable[[], Iterable[str]],
) -> Iterable[Finding]:
    examined = known.wait(SECONDS_TO_ANSWER + 1)
    if examined is None:
        raise known.error or TimeoutError("docker does not answer")
    return judge_docker(examined, wanted, docker.command[0], make)


def _make_builder(directory: Path, config_file: Path | None) -> tuple[str, ...]:
    """Bring up the builder of `[builder]`, or the default one; return what was done."""
    from bxcache.pipeline.builders import bring_up_builder  # noqa: PLC0415  # only to mend

    up = bring_up_builder(config_file=config_file, directory=directory)
    done = f"the builder `{up.name}` {'is up' if up.change == 'none' else f'was {up.change}'}"
    return (done, *up.notes)


def _diagnose_settings() -> Iterable[Finding]:
    return diagnose_settings(os.environ)


def _recall(known: Pending[Examination] | None) -> Capabilities | None:
    """Wait for what docker can do; None if that is unknown."""
    examined = known.wait(SECONDS_TO_ANSWER + 1) if known is not None else None
    return examined.capabilities if examined is not None else None


def _find_wanted(project: Project | None, backends: Sequence[Backend]) -> Wanted:
    """Find which builder builds use here, and how much its limits cost."""
    named = os.environ.get(BUILDX_BUILDER, "")
    wanted = Wanted(named, BUILDX_BUILDER if named else "")
    if project is None:
        return wanted
    lost = [each.kind for each in backends if not each.keeps_images]
    cost = Status.OK if not lost else Status.ERROR
    if lost and len(lost) < len(backends):
        cost = Status.WARNING
    setup = project.setup
    builder, own = setup.config.build.builder, setup.config.builder.name
    wanted = replace(wanted, own=own, kinds=tuple(dict.fromkeys(lost)), cost=cost)
    if builder:
        by = f"`build.builder` ({setup.source_of(_BUILDER)})"
        return replace(wanted, builder=builder, named_by=by)
    if named or not setup.declares_builder:
        return wanted
    return replace(wanted, builder=own, named_by="`[builder]`", declared=True)


def _merge(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Leave out what two checks found alike: the earlier one, unless only that can be mended."""
    kept: dict[tuple[str, str], Finding] = {}
    for each in findings:
        before = kept.get((each.check, each.found))
        if before is None or each.fixable or not before.fixable:
            kept[each.check, each.found] = each
    return iter(kept.values())


def _redact(finding: Finding, secrets: Sequence[str]) -> Finding:
    found, remedy = (_redact_text(each, secrets) for each in (finding.found, finding.remedy))
    return replace(finding, found=found, remedy=remedy)


def _redact_text(text: str, secrets: Sequence[str] = ()) -> str:
    """Mask the credentials of backends, and what a text repeats of secret variables."""
    return Redactor([*secrets, *find_mentioned(text, os.environ)])(text)
