"""A failing registry costs one warning that names it, the operation and the cause."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.faults import (
    BROKEN,
    BROKEN_HALFWAY,
    FORBIDDEN,
    LOST,
    UNAUTHORIZED,
    Cut,
    Fault,
    Rule,
    Stall,
    reading_blobs,
    too_many,
    writing_blobs,
    writing_manifests,
)
from tests.engines.registry import LOGIN, Login
from tests.real.conftest import STEPS, MakeMachine
from tests.real.machines import Machine, count
from tests.support.sampling import more

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Registry
    from tests.engines.proxy import FaultyProxy

READING = Rule("GET|HEAD", re.compile("/manifests/"))


@pytest.fixture
def backend(proxy: FaultyProxy, tmp_path: Path) -> tuple[str, str]:
    """The registry behind the proxy."""
    return "--backend", f"type=registry,ref={proxy.address}/{tmp_path.name.lower()}"


def hurry(backend: tuple[str, str]) -> tuple[str, str]:
    """Limit saving to five seconds, for a registry that never answers."""
    return backend[0], f"{backend[1]},timeout=5"


def names(warning: str, proxy: FaultyProxy, operation: str, cause: str) -> bool:
    """Whether a warning names registry, operation and cause."""
    return all(part in warning for part in (f"`{proxy.address}`", operation, cause))


LOOKING_UP = [
    ("stall", Stall(), "it did not answer in time"),
    ("500", BROKEN, "500 made up by a test"),
    ("429", too_many(0), "429 made up by a test"),
    ("cut", Cut(), ""),
    ("cut half-way", Cut(halfway=True), ""),
]


@pytest.mark.parametrize(
    ("fault", "cause"), [row[1:] for row in LOOKING_UP], ids=[row[0] for row in LOOKING_UP]
)
def test_a_registry_that_fails_a_lookup_is_left_out(
    fault: Fault,
    cause: str,
    machine: Machine,
    proxy: FaultyProxy,
    backend: tuple[str, str],
    project: Path,
) -> None:
    """After a failed request, the image is built and the registry is not asked again."""
    proxy.fail(fault=fault, matching=READING)
    built = machine.build(*backend, "--load", folder=project)
    (warning,) = built["warnings"]
    assert names(warning, proxy, "looking up `", cause)
    assert built["image"]["digest"]
    assert not any(each["exported"] for each in built["caches"])


def test_a_registry_that_refuses_connections_is_left_out(
    machine: Machine, proxy: FaultyProxy, backend: tuple[str, str], project: Path
) -> None:
    """A registry that refuses connections costs one warning for reading and saving together."""
    proxy.refuse()
    built = machine.build(*backend, folder=project)
    (warning,) = built["warnings"]
    assert names(warning, proxy, "reading `", "connection refused")


@pytest.mark.parametrize("fault", [UNAUTHORIZED, FORBIDDEN], ids=["401", "403"])
def test_a_registry_that_denies_access_costs_advice_to_log_in(
    fault: Fault, machine: Machine, proxy: FaultyProxy, backend: tuple[str, str], project: Path
) -> None:
    """A registry that denies access costs one warning with the advice to log in."""
    proxy.fail(fault=fault)
    built = machine.build(*backend, folder=project)
    (warning,) = built["warnings"]
    assert names(warning, proxy, "saving `", f"docker login {proxy.address}")


SAVING = [
    ("500 half-way", BROKEN_HALFWAY, writing_blobs(), "made up by a test"),
    ("403", FORBIDDEN, writing_blobs(), "403"),
    ("cut", Cut(), writing_blobs(), ""),
    ("stall", Stall(), writing_blobs(), "it took longer than 5 s"),
    ("500 for the manifest", BROKEN, writing_manifests(), "500"),
    ("stall for the manifest", Stall(), writing_manifests(), "it took longer than 5 s"),
]


@pytest.mark.parametrize(
    ("fault", "rule", "cause"),
    [*(row[1:] for row in SAVING[:-1]), *more(SAVING[-1][1:])],
    ids=[row[0] for row in SAVING],
)
def test_a_registry_that_cannot_be_written_costs_a_warning(
    fault: Fault,
    rule: Rule,
    cause: str,
    machine: Machine,
    proxy: FaultyProxy,
    backend: tuple[str, str],
    project: Path,
    tmp_path: Path,
) -> None:
    """If a registry cannot be written, the rest is saved, and all is saved after its recovery."""
    proxy.fail(fault=fault, matching=rule)
    store = ("--backend", f"type=local,dir={tmp_path / 'store'}")
    faulty = hurry(backend) if isinstance(fault, Stall) else backend
    built = machine.build(*store, *faulty, folder=project)
    (warning,) = built["warnings"]
    assert names(warning, proxy, "saving `", cause)
    assert {each["backend"]: each["exported"] for each in built["caches"]} == {
        "local": True,
        "registry": False,
    }
    proxy.heal()
    again = machine.build(*store, *backend, folder=project)
    assert again["warnings"] == []
    assert {each["backend"]: each["exported"] for each in again["caches"]}["registry"]


@pytest.mark.parametrize(
    ("fault", "rule", "cause"), [row[1:] for row in SAVING], ids=[row[0] for row in SAVING]
)
def test_a_registry_that_cannot_be_written_costs_no_image(
    fault: Fault,
    rule: Rule,
    cause: str,
    machine: Machine,
    proxy: FaultyProxy,
    backend: tuple[str, str],
    project: Path,
) -> None:
    """An export of the build itself that fails or stalls costs one warning, and no image."""
    proxy.fail(fault=fault, matching=rule)
    faulty = hurry(backend) if isinstance(fault, Stall) else backend
    built = machine.build(*faulty, "--load", "--tag", "kept", folder=project)
    (warning,) = built["warnings"]
    assert names(warning, proxy, "saving `", cause)
    assert [each["exported"] for each in built["caches"]] == [False]
    assert built["counts"]["failed"] == 0
    machine.docker("image", "inspect", "kept", folder=project)
    proxy.heal()
    again = machine.build(*backend, folder=project)
    assert again["warnings"] == []
    assert [each["exported"] for each in again["caches"]] == [True]


@pytest.mark.parametrize("fault", [too_many(1), BROKEN], ids=["429", "500"])
def test_a_temporary_failure_is_retried(
    fault: Fault, machine: Machine, proxy: FaultyProxy, backend: tuple[str, str], project: Path
) -> None:
    """A registry that recovers after one failed answer costs nothing."""
    proxy.fail(fault=fault, matching=READING, times=1)
    built = machine.build(*backend, folder=project)
    assert built["warnings"] == []
    assert built["caches"][0]["exported"]


def test_strict_fails_with_the_registrys_error(
    machine: Machine, proxy: FaultyProxy, backend: tuple[str, str], project: Path
) -> None:
    """`strict` fails with the registry's error after the image is built."""
    proxy.fail(fault=BROKEN, matching=READING)
    built = machine.build(*backend, "--strict", folder=project, status=75)
    assert built["exit_status"] == 0
    ran = machine.run(
        "build", "-q", "--network", "none", *backend, "--strict", folder=project, status=75
    )
    assert "looking up" in ran.err
    assert "500 made up by a test" in ran.err


def test_a_donor_with_missing_layers_costs_a_cold_run(
    machines: MakeMachine,
    registry: Registry,
    proxy: FaultyProxy,
    backend: tuple[str, str],
    project: Path,
) -> None:
    """A donor with missing layers costs a cold run, and the build succeeds."""
    first = machines().build(*backend, folder=project)
    digest = first["caches"][0]["digest"]
    name = backend[1].partition("/")[2]
    manifest: dict[str, Any] = registry.manifest(name, digest)
    proxy.fail(fault=LOST, matching=reading_blobs(but=(manifest["config"]["digest"],)))
    built = machines().build(*backend, "--load", folder=project)
    assert built["image"]["digest"]
    assert count(built) == (0, STEPS)
    assert any("run again without it" in warning for warning in built["warnings"])
    assert [each["cause"] for miss in built["misses"] for each in miss["changes"]] == ["unreadable"]


WRONG = Login("tester", "not-the-right-one", "")


@pytest.mark.parametrize("words", [(), ("--write", "never")], ids=["saving", "reading"])
@pytest.mark.parametrize("login", [None, WRONG], ids=["nobody", "wrong password"])
def test_wrong_credentials_are_reported_and_not_shown(
    login: Login | None,
    words: tuple[str, ...],
    machine: Machine,
    private_registry: Registry,
    project: Path,
    tmp_path: Path,
) -> None:
    """Wrong credentials give advice to log in to the registry, and are not shown."""
    address = private_registry.address
    there = machine.logged_in(address, login) if login else machine
    ref = f"{address}/{tmp_path.name.lower()}"
    ran = there.run(
        *("build", "--network", "none", "--backend", f"type=registry,ref={ref}", *words),
        folder=project,
    )
    warnings = [line for line in ran.err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert f"`docker login {address}`" in ran.err
    assert WRONG.password not in ran.err + ran.out
    assert WRONG.encoded not in ran.err + ran.out


def test_the_right_credentials_are_never_shown(
    machine: Machine, private_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Correct credentials are not shown, not even in BuildKit's own stream."""
    there = machine.logged_in(private_registry.address, LOGIN)
    ref = f"{private_registry.address}/{tmp_path.name.lower()}"
    words = ("build", "--network", "none", "--backend", f"type=registry,ref={ref}")
    for form in ((), ("--progress", "rawjson"), ("--json",), ("--dry-run",)):
        ran = there.run(*words, *form, folder=project)
        assert LOGIN.password not in ran.err + ran.out
        assert LOGIN.encoded not in ran.err + ran.out


def test_certificates_are_verified(
    machines: MakeMachine, secure_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """A registry with a certificate of a configured authority works like any other."""
    ref = f"{secure_registry.address}/{tmp_path.name.lower()}"
    backend = ("--backend", f"type=registry,ref={ref}")
    cold = machines(near=secure_registry).build(*backend, folder=project)
    assert cold["warnings"] == []
    warm = machines(near=secure_registry).build(*backend, folder=project)
    assert count(warm) == (STEPS, 0)
    assert warm["caches"][0]["unchanged"]
