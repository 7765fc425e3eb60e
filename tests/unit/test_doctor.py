"""Tests of the doctor: from what was observed to findings, and from findings to a diagnosis."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from msgspec.structs import replace

import bxcache
from bxcache.backends.clock import judge_clock, judge_newest
from bxcache.backends.declared import list_backends
from bxcache.backends.finding import Finding, Status, fine
from bxcache.backends.local_findings import diagnose_store, judge_health, judge_space
from bxcache.buildx.capabilities import parse_builder
from bxcache.buildx.driver import Examination
from bxcache.cli.main import run
from bxcache.console.doctor import render_diagnosis
from bxcache.errors import StoreError
from bxcache.pipeline.doctor import diagnosis
from bxcache.pipeline.doctor.checks import Check, Pending, run_checks
from bxcache.pipeline.doctor.diagnosis import Diagnosis, Mended, _merge
from bxcache.pipeline.doctor.docker import Wanted, judge_docker
from bxcache.pipeline.doctor.project import open_project
from bxcache.process import Answer
from bxcache.store.collection import Limits
from bxcache.store.health import Health
from bxcache.store.store import Store
from tests.support.layouts import export
from tests.support.operations import make_store
from tests.unit.test_capabilities import DOCKER_DRIVER, TWO_NODES

OK, WARNING, ERROR = Status.OK, Status.WARNING, Status.ERROR
HOUR, DAY, YEAR = 3600, 86_400, 365 * 86_400
NOW = 1_800_000_000.0


def statuses(findings: Iterator[Finding] | tuple[Finding, ...]) -> dict[str, Status]:
    """Return the worst status of each check."""
    order = (OK, WARNING, ERROR)
    found: dict[str, Status] = {}
    for each in findings:
        found[each.check] = max(each.status, found.get(each.check, OK), key=order.index)
    return found


@pytest.mark.parametrize(
    ("ahead", "status", "words"),
    [
        (0, OK, "agrees with"),
        (-100, OK, "agrees with"),
        (5 * 60, WARNING, "5 min ahead of"),
        (-3 * HOUR, WARNING, "3 h behind"),
        (YEAR, ERROR, "365 days ahead of"),
        (-YEAR, ERROR, "365 days behind"),
    ],
)
def test_a_clock_is_judged_by_its_difference(ahead: float, status: Status, words: str) -> None:
    """Minutes are a warning and a year is an error, both with what sets the clock."""
    found = judge_clock(NOW + ahead, NOW, "the registry `r`")
    assert (found.status, found.check) == (status, "clock")
    assert words in found.found
    assert ("timedatectl" in found.remedy) == (status is not OK)


@pytest.mark.parametrize(
    ("newest", "status"), [(-YEAR, OK), (60, OK), (HOUR, WARNING), (YEAR, ERROR)]
)
def test_only_a_file_of_the_future_shows_a_wrong_clock(newest: float, status: Status) -> None:
    """An old store says nothing about the clock; a file of the future does."""
    assert judge_newest(NOW, NOW + newest, "a store").status is status


GB = 1_000_000_000


@pytest.mark.parametrize(
    ("free", "used", "max_size", "status"),
    [
        (50 * GB, 0, 20 * GB, OK),
        (5 * GB, 18 * GB, 20 * GB, OK),
        (5 * GB, 0, 20 * GB, WARNING),
        (5 * GB, 0, None, OK),
        (GB // 10, 0, GB // 100, ERROR),
        (GB // 10, 0, None, ERROR),
    ],
)
def test_free_space_is_judged_by_how_much_the_store_may_grow(
    free: int, used: int, max_size: int | None, status: Status
) -> None:
    """Space for the rest of `max_size` is enough; almost none is an error."""
    assert judge_space(Health(True, free, used), max_size).status is status  # noqa: FBT003


@pytest.mark.parametrize(
    ("health", "saves", "expected", "words"),
    [
        (Health(exists=False, free_bytes=GB), True, {"store": OK}, "does not exist yet"),
        (Health(exists=True, free_bytes=GB, links=True), True, {"store": OK}, "can be read and"),
        (
            Health(exists=True, free_bytes=GB, denied="no permission"),
            True,
            {"store": ERROR},
            "no p",
        ),
        (Health(exists=True, free_bytes=GB, denied="no permission"), False, {"store": OK}, "no p"),
        (
            Health(exists=True, free_bytes=GB, denied="no", on_read_only_disk=True),
            True,
            {"store": ERROR},
            "mounted read-only",
        ),
        (
            Health(exists=True, free_bytes=GB, lacks_own_folder=True),
            True,
            {"store": WARNING},
            "lacks its folder",
        ),
        (
            Health(exists=True, free_bytes=GB, links=False),
            True,
            {"store": OK, "links": WARNING},
            "can be",
        ),
    ],
)
def test_a_store_is_judged(
    health: Health,
    saves: bool,  # noqa: FBT001
    expected: dict[str, Status],
    words: str,
) -> None:
    """A store that cannot be written is an error only where a build would save."""
    found = [*judge_health(health, "/s", saves=saves)]
    assert statuses(tuple(found)) == expected
    assert words in found[0].found


def export_plainly(folder: Path) -> None:
    """Export a cache to a folder as plain buildx does."""
    folder.mkdir()
    export(folder, "latest", b"layer")


def diagnose(store: Store) -> list[Finding]:
    """Examine a store that builds save to."""
    return [*diagnose_store(store, Limits(), saves=True, mends=True)]


def test_a_sound_store_is_fine_and_stays_as_it_is(store: Store) -> None:
    """A sound store has only good findings, and no file of it changes, but for the lock's note."""
    make_store(store.path)
    own = {"holder", "lock"}
    before = {p: p.read_bytes() for p in store.path.rglob("*") if p.is_file() and p.name not in own}
    assert set(statuses(tuple(diagnose(store))).values()) == {OK}
    after = {p: p.read_bytes() for p in store.path.rglob("*") if p.is_file() and p.name not in own}
    assert after == before


def test_a_missing_blob_is_found_and_repaired(store: Store) -> None:
    """A layer that is gone is an error, which its repair mends."""
    make_store(store.path)
    blobs = sorted(
        (store.path / "blobs" / "sha256").iterdir(), key=lambda each: each.stat().st_size
    )
    blobs[-1].unlink()
    (damage,) = (each for each in diagnose(store) if each.status is ERROR)
    assert damage.check == "content"
    assert "No such file" in damage.found
    assert damage.mend is not None
    assert any("broken" in line for line in damage.mend())
    assert set(statuses(tuple(diagnose(store))).values()) == {OK}


def test_a_broken_index_is_found_and_repaired(store: Store) -> None:
    """An index that is not JSON is an error; the repair brings its scopes back."""
    make_store(store.path)
    scopes = store.read_scopes()
    (store.path / "index.json").write_text("{")
    (damage,) = (each for each in diagnose(store) if each.status is ERROR)
    assert damage.check == "content"
    assert damage.mend is not None
    assert [*damage.mend()]
    assert store.read_scopes() == scopes
    assert set(statuses(tuple(diagnose(store))).values()) == {OK}


def test_leftovers_of_killed_builds_are_found_and_removed(store: Store) -> None:
    """A layout without a running build and a temporary file are a warning, until removed."""
    make_store(store.path)
    staging = store.path / ".bxcache" / "staging"
    with store.snapshot("ffffffffffff"):
        # The layout of a running build is no leftover.
        (staging / "0123456789ab").mkdir()
        (staging / "0123456789ab.lock").touch()
        (store.path / ".index.json.77.tmp").touch()
        (left,) = (each for each in diagnose(store) if each.status is not OK)
        assert (left.check, left.status) == ("leftovers", WARNING)
        assert "2 leftovers" in left.found
        assert left.mend is not None
        assert [*left.mend()]
        assert (staging / "ffffffffffff").exists()
    assert set(statuses(tuple(diagnose(store))).values()) == {OK}


def test_a_folder_of_plain_buildx_is_adopted(tmp_path: Path) -> None:
    """A directory that buildx exported to is an error, until it is adopted."""
    store = Store(tmp_path / "cache")
    export_plainly(store.path)
    (found,) = diagnose(store)
    assert (found.check, found.status) == ("store", ERROR)
    assert 'Store("' in found.remedy
    assert found.mend is not None
    assert "is a store now, with 1 scope" in [*found.mend()][-1]
    assert set(statuses(tuple(diagnose(store))).values()) == {OK}


def test_a_strangers_folder_is_left_alone(tmp_path: Path) -> None:
    """A directory with other files is an error that a person has to mend."""
    (tmp_path / "photo.jpg").touch()
    (found,) = diagnose(Store(tmp_path))
    assert (found.status, found.mend) == (ERROR, None)
    assert "photo.jpg" in found.found


ENGINE = json.dumps(
    {"Client": {"Version": "28.5.2"}, "Server": {"Version": "28.5.2", "Os": "linux", "Arch": "a"}}
)
HEALTHY = Examination(
    Answer(0, ENGINE, ""),
    Answer(0, "github.com/docker/buildx v0.29.1 x", ""),
    Answer(0, DOCKER_DRIVER, ""),
)
CLASSIC = Answer(0, DOCKER_DRIVER.replace("snapshotter", "other"), "")
NO_ENGINE = Answer(1, json.dumps({"Client": {"Version": "28.5.2"}, "Server": None}), "cannot")
OLD_ENGINE = Answer(
    0, ENGINE.replace('"Server": {"Version": "28.5.2"', '"Server": {"Version": "25.0"'), ""
)
DEAD = Answer(0, "Name:   default\nDriver: docker\nError: cannot connect\n", "")
NOBODY = Answer(1, "", 'ERROR: no builder "x" found')
GHA = '[[cache.backends]]\ntype = "gha"\n'
NEEDS = Wanted(kinds=("local",), cost=ERROR)
FINE = {"docker": OK, "buildx": OK, "engine": OK}


@pytest.mark.parametrize(
    ("changes", "wanted", "expected"),
    [
        ({}, NEEDS, {**FINE, "builder": OK, "export": OK}),
        ({"version": None}, Wanted(), {"engine": ERROR}),
        ({"version": NO_ENGINE, "inspect": DEAD}, Wanted(), {**FINE, "engine": ERROR}),
        (
            {"version": NO_ENGINE, "inspect": Answer(1, "", "cannot connect")},
            Wanted(),
            {**FINE, "engine": ERROR},
        ),
        ({"buildx": Answer(1, "", "no such command")}, Wanted(), {**FINE, "buildx": ERROR}),
        ({"buildx": Answer(0, "x v0.12.9 y", "")}, Wanted(), {**FINE, "buildx": ERROR}),
        ({"buildx": None}, Wanted(), {**FINE, "buildx": ERROR}),
        ({"inspect": None}, Wanted("far"), {**FINE, "builder": ERROR}),
        ({"inspect": NOBODY}, Wanted("x", "BUILDX_BUILDER"), {**FINE, "builder": ERROR}),
        ({"inspect": NOBODY}, Wanted("x", "`[builder]`", True), {**FINE, "builder": ERROR}),  # noqa: FBT003
        ({"inspect": CLASSIC}, NEEDS, {**FINE, "builder": OK, "export": ERROR}),
        ({"inspect": CLASSIC}, Wanted(cost=OK), {**FINE, "builder": OK, "export": OK}),
        (
            {"inspect": CLASSIC},
            replace(NEEDS, cost=WARNING),
            {**FINE, "builder": OK, "export": WARNING},
        ),
        ({"version": OLD_ENGINE}, NEEDS, {**FINE, "builder": OK, "export": ERROR}),
        (
            {"inspect": Answer(0, TWO_NODES.replace("v0.25.1", "v0.12.5"), "")},
            NEEDS,
            {**FINE, "builder": OK, "export": ERROR},
        ),
        ({"inspect": Answer(0, TWO_NODES, "")}, Wanted(), {**FINE, "builder": OK, "export": OK}),
    ],
)
def test_dockers_answers_are_judged(
    changes: dict[str, Answer | None], wanted: Wanted, expected: dict[str, Status]
) -> None:
    """Each answer, late answer and missing part of docker has its finding."""
    findings = [*judge_docker(replace(HEALTHY, **changes), wanted, make=lambda: ())]
    assert statuses(tuple(findings)) == expected
    assert all(each.why and each.remedy for each in findings if each.status is not OK)


@pytest.mark.parametrize(
    ("wanted", "fixable"),
    [(NEEDS, True), (replace(NEEDS, builder="x", named_by="BUILDX_BUILDER"), False)],
)
def test_a_builder_is_only_made_where_builds_would_use_it(
    wanted: Wanted,
    fixable: bool,  # noqa: FBT001
) -> None:
    """Where a variable names the builder, the remedy names the variable instead."""
    classic = replace(HEALTHY, inspect=CLASSIC)
    found = [*judge_docker(classic, wanted, make=lambda: ())][-1]
    assert found.fixable == fixable
    assert ("BUILDX_BUILDER" in found.remedy) != fixable
    assert "bxcache.bring_up_builder()" in found.remedy


@pytest.mark.parametrize(
    ("inspect", "wanted", "found", "why"),
    [
        (
            HEALTHY.inspect,
            NEEDS,
            "save `local`, `registry`, `inline` and `gha` caches, in the containerd image store",
            "",
        ),
        (
            Answer(0, TWO_NODES, ""),
            NEEDS,
            "save `local`, `registry`, `inline`, `gha`, `s3` and `azblob` caches",
            "",
        ),
        (
            CLASSIC,
            Wanted(kinds=("s3",), cost=ERROR),
            "save only `inline` caches",
            "`s3` caches are not saved",
        ),
        (
            CLASSIC,
            Wanted(kinds=("gha", "local"), cost=WARNING),
            "save only `inline` caches",
            "`gha` and `local` caches are not saved",
        ),
    ],
)
def test_kinds_of_caches_are_named(inspect: Answer, wanted: Wanted, found: str, why: str) -> None:
    """A builder is fine with the kinds that it can save; without, the declared ones are named."""
    judged = [*judge_docker(replace(HEALTHY, inspect=inspect), wanted)][-1]
    assert (judged.check, judged.why) == ("export", why)
    assert judged.found.partition("can ")[2] == found


@pytest.mark.parametrize(
    ("text", "own", "kinds", "cost"),
    [
        ("", "bxcache", ("local",), ERROR),
        ('[builder]\nname = "own"\n', "own", ("local",), ERROR),
        (GHA * 2, "bxcache", ("gha",), ERROR),
        (
            f'{GHA}[[cache.backends]]\ntype = "inline"\nref = "example.com/app"\n',
            "bxcache",
            ("gha",),
            WARNING,
        ),
    ],
)
def test_a_project_says_which_builder_and_kinds_it_wants(
    text: str, own: str, kinds: tuple[str, ...], cost: Status, here: Path
) -> None:
    """The declared builder, or the default one, can be brought up; each declared kind counts once,
    unless every builder can save it."""
    (here / "bxcache.toml").write_text(text)
    project = open_project(here, None)
    wanted = diagnosis._find_wanted(project, list_backends(project.setup))
    assert (wanted.own, wanted.kinds, wanted.cost) == (own, kinds, cost)


@pytest.mark.parametrize("named_by", ["", "BUILDX_BUILDER", "`[builder]`"])
def test_a_builder_that_is_up_is_not_mended_by_bringing_it_up(named_by: str) -> None:
    """The one that would be brought up keeps its old BuildKit, until a person has it removed."""
    old = Answer(0, TWO_NODES.replace("v0.25.1", "v0.12.5"), "")
    name = parse_builder(old.stdout).name
    wanted = replace(NEEDS, builder=name if named_by else "", named_by=named_by, own=name)
    found = [*judge_docker(replace(HEALTHY, inspect=old), wanted, make=lambda: ())][-1]
    assert (found.check, found.status, found.fixable) == ("export", ERROR, False)
    remove = f'`bxcache.remove_builder("{name}")`, then `bxcache.bring_up_builder()`'
    assert found.remedy.endswith(remove)


@pytest.mark.parametrize(
    ("wanted", "fixable", "remedy"),
    [
        (
            Wanted("x", "`[builder]`", declared=True),
            True,
            "`bxcache.bring_up_builder()` creates it",
        ),
        (Wanted("x", "BUILDX_BUILDER"), False, "; or change BUILDX_BUILDER"),
    ],
)
def test_only_a_declared_builder_is_brought_up(
    wanted: Wanted,
    fixable: bool,  # noqa: FBT001
    remedy: str,
) -> None:
    """The missing builder of `[builder]` can be created; another one may be a slip."""
    missing = replace(HEALTHY, inspect=NOBODY)
    found = [*judge_docker(missing, wanted, make=lambda: ())][-1]
    assert found.fixable == fixable
    assert found.remedy.endswith(remedy)
    assert found.found == f"there is no builder `x`, which {wanted.named_by} names"


def test_a_check_that_fails_or_hangs_is_a_finding() -> None:
    """The findings before an error stay, a check that hangs is given up, and the others go on."""
    over = Event()

    def crash() -> Iterator[Finding]:
        yield fine("crash", "so far")
        raise ZeroDivisionError("by zero")

    def hang() -> Iterator[Finding]:
        yield fine("hang", "so far")
        over.wait(60)

    def refuse() -> Iterator[Finding]:
        raise StoreError("it is locked", hint="unlock it")

    checks = (
        Check("crash", "the crash", 30, crash),
        Check("hang", "the hang", 0.2, hang),
        Check("refuse", "the store", 30, refuse),
        Check("well", "the rest", 30, lambda: [fine("well", "done")]),
    )
    found = [*run_checks(checks)]
    over.set()
    assert [(each.check, each.status) for each in found] == [
        *(("crash", OK), ("crash", ERROR)),
        *(("hang", OK), ("hang", ERROR)),
        *(("refuse", ERROR), ("well", OK)),
    ]
    assert "ZeroDivisionError: by zero" in found[1].found
    assert "within 0 s" in found[3].found
    assert (found[4].found.endswith("it is locked"), found[4].remedy) == (True, "unlock it")


def test_a_pending_function_is_waited_for_so_long() -> None:
    """A result that is late is none; once it is there, it is returned."""
    go = Event()
    pending = Pending(lambda: go.wait(60))
    assert (pending.wait(0.01), pending.is_late) == (None, True)
    go.set()
    assert (pending.wait(60), pending.is_late) == (True, False)


BAD = Finding("store", ERROR, "it is broken", "it matters", "`mend it`", lambda: ("mended it",))
FAR = Finding("delete", WARNING, "it is far", "it is slow")


def test_a_diagnosis_has_the_worst_status_and_counts() -> None:
    """The document has the status, the counts and every finding, without functions."""
    found = Diagnosis((fine("docker", "28"), BAD, FAR), (Mended("store", ("did it",)),), 1.23456)
    document = found.to_dict()
    assert json.loads(json.dumps(document)) == {
        "version": "1",
        "status": "error",
        "counts": {"ok": 1, "warning": 1, "error": 1},
        "findings": [
            {
                "check": "docker",
                "status": "ok",
                "found": "28",
                "why": "",
                "remedy": "",
                "fixable": False,
            },
            {
                "check": "store",
                "status": "error",
                "found": "it is broken",
                "why": "it matters",
                "remedy": "`mend it`",
                "fixable": True,
            },
            {
                "check": "delete",
                "status": "warning",
                "found": "it is far",
                "why": "it is slow",
                "remedy": "",
                "fixable": False,
            },
        ],
        "mended": [{"check": "store", "did": ["did it"], "error": None}],
        "seconds": 1.235,
    }


def test_problems_are_shown_last_with_their_remedy() -> None:
    """What is fine comes first, then what was done, the warnings, the errors and the counts."""
    mended = (Mended("store", ("did it",)), Mended("export", error="no room"))
    text = render_diagnosis(Diagnosis((BAD, FAR, fine("docker", "28")), mended, 1.0))
    assert text == (
        "ok  docker  28\n\n"
        "mended: store: did it\n\n"
        "not mended: export: no room\n\n"
        "warning: delete: it is far\n  why: it is slow\n\n"
        "error: store: it is broken\n  why: it matters\n  do:  `mend it`\n"
        "  fix: `bxcache doctor --fix` does it\n\n"
        "1 check ok, 1 warning, 1 error, in 1.0 s"
    )
    assert "\x1b[31merror:\x1b[0m" in render_diagnosis(Diagnosis((BAD,)), colored=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without docker and git, and a user without settings."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_CONFIG", "BUILDX_BUILDER"):
        monkeypatch.delenv(name, raising=False)
    return folder


def read_findings(text: str) -> dict[str, list[str]]:
    """Return the statuses of each check in the doctor's document."""
    found: dict[str, list[str]] = {}
    for each in json.loads(text)["findings"]:
        found.setdefault(each["check"], []).append(each["status"])
    return found


@pytest.mark.usefixtures("here")
def test_the_doctor_works_without_docker_git_and_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One error says that docker is missing; everything else is examined."""
    assert run(["doctor", "--json"]) == 79
    output = capsys.readouterr()
    found = read_findings(output.out)
    assert found.pop("docker") == ["error"]
    assert {"config", "place", "trust", "docker-config", "store", "disk", "clock"} == {*found}
    assert output.err == ""


def test_every_config_problem_is_listed_and_the_others_go_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong configuration is an error for each problem, with its line; docker is examined."""
    (here / "bxcache.toml").write_text('[build]\ntagz = []\n\n[cache]\nwrite = "sometimes"\n')
    assert run(["doctor", "--json"]) == 79
    document = json.loads(capsys.readouterr().out)
    problems = [each["found"] for each in document["findings"] if each["check"] == "config"]
    assert len(problems) == 2
    assert "bxcache.toml:2: build.tagz: is unknown; did you mean `tags`?" in problems[0]
    assert "bxcache.toml:5: cache.write" in problems[1]
    assert {"docker", "docker-config", "place", "trust"} <= {
        each["check"] for each in document["findings"]
    }
    assert "store" not in {each["check"] for each in document["findings"]}


def test_an_unknown_variable_is_a_warning(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that bxcache does not know has no effect, which is a warning."""
    monkeypatch.setenv("BXCACHE_CACHE_STRIKT", "true")
    found = bxcache.diagnose(directory=here)
    assert any("BXCACHE_CACHE_STRIKT" in each.found for each in found.findings)
    assert statuses(found.findings)["config"] is WARNING


def test_the_settings_of_an_untrusted_file_are_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a stranger's file sets beyond what is harmless is a warning; the job says nothing is
    saved, and its store is not mended."""
    export_plainly(here / "cache")
    (here / "bxcache.toml").write_text(
        '[build]\nallow = ["network.host"]\n[[cache.backends]]\ntype = "local"\ndir = "cache"\n'
    )
    monkeypatch.setenv("BXCACHE_PLACE_TRUSTED", "false")
    found = bxcache.diagnose(directory=here, fix=True)
    assert any("`build.allow`" in each.found for each in found.findings if each.status is WARNING)
    assert statuses(found.findings)["store"] is ERROR
    assert found.mended == ()
    assert not (here / "cache" / ".bxcache").exists()


def test_a_fix_is_reported_and_the_state_is_that_after_it(here: Path) -> None:
    """A directory of plain buildx is adopted, and then it is fine."""
    export_plainly(here / "cache")
    (here / "bxcache.toml").write_text('[[cache.backends]]\ntype = "local"\ndir = "cache"\n')
    (mended,) = bxcache.diagnose(directory=here, fix=True).mended
    assert (mended.check, mended.error) == ("store", None)
    found = bxcache.diagnose(directory=here, fix=True)
    assert (found.mended, statuses(found.findings)["store"]) == ((), OK)


def test_a_fix_that_fails_says_why(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of a remedy is in the result, with its hint and no secret, and nothing is raised."""
    monkeypatch.setenv("REGISTRY_TOKEN", "correct-horse-battery")

    def refuse() -> tuple[str, ...]:
        raise StoreError("it is locked by correct-horse-battery", hint="unlock it")

    bad = replace(BAD, mend=refuse)
    monkeypatch.setattr(diagnosis, "_examine", lambda *_: (bad,))
    assert bxcache.diagnose(directory=here, fix=True).mended == (
        Mended("store", (), "it is locked by ***; unlock it"),
    )


def test_a_secret_of_the_environment_is_in_no_finding(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value of a variable with a secret name is masked where a text repeats it."""
    secret = "correct-horse-battery"
    monkeypatch.setenv("REGISTRY_TOKEN", secret)
    monkeypatch.setenv("BXCACHE_CACHE_WRITE", secret)
    document = json.dumps(bxcache.diagnose(directory=here).to_dict())
    assert secret not in document
    assert "***" in document


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        ("{", ERROR, "is not JSON"),
        ("[]", ERROR, "is not a JSON object"),
        ("\xff", ERROR, "is not JSON"),
        ("{}", OK, "is valid"),
        ('{"auths": {}, "credsStore": 5}', OK, "is valid"),
    ],
)
def test_dockers_config_file_is_judged(
    content: str, status: Status, words: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config file that is no JSON object is an error, with the file and the place in it."""
    monkeypatch.setenv("DOCKER_CONFIG", str(here))
    (here / "config.json").write_bytes(content.encode("latin-1"))
    (found,) = (
        each for each in bxcache.diagnose(directory=here).findings if each.check == "docker-config"
    )
    assert found.status is status
    assert words in found.found
    assert str(here / "config.json") in found.found


def test_a_diagnosis_takes_as_long_as_it_says(here: Path) -> None:
    """The time is that of the call."""
    begun = time.monotonic()
    found = bxcache.diagnose(directory=here)
    assert 0 < found.seconds <= time.monotonic() - begun


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_alike_the_one_that_can_be_mended_stays(turned: bool) -> None:  # noqa: FBT001
    """What docker's check offers to mend is not lost because a backend's check says the same."""
    mended = Finding("export", Status.ERROR, "too old", "why", "do this", lambda: ())
    alike = Finding("export", Status.ERROR, "too old", "another why")
    other = fine("export", "all kinds")
    found = [alike, mended, other] if turned else [mended, alike, other]
    assert [*_merge(found)] == [mended, other]
