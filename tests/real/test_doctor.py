"""The doctor on real engines, builders, registries and stores: what it finds, and what it mends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.engines import LOGIN, Engine, FaultyProxy, Registry
from tests.engines.builders import load_builder_image
from tests.engines.cache_service import CacheService
from tests.engines.faults import FORBIDDEN, UNAUTHORIZED, Answer, Rule, Stall
from tests.engines.object_stores import BUCKET, S3, SECRET_KEY
from tests.real.conftest import STEPS, MakeMachine, Saved
from tests.real.machines import Machine, count
from tests.real.rebuilds import name_store, rebuild, write_base, write_files, write_new
from tests.real.test_preflight import CREATE, PLUGINS
from tests.support.disks import DiskError, small_disk

UNHEALTHY = 79
OLD_BUILDX = """\
#!/bin/sh
[ "$1 $2" = "buildx version" ] && exec echo "github.com/docker/buildx v0.12.1 30feaa1a915b"
exec {docker} "$@"
"""
OLD_ENGINE = """\
#!/bin/sh
[ "$1" = version ] && exec echo \
'{{"Client":{{"Version":"24.0.9"}},"Server":{{"Version":"24.0.9","Os":"linux","Arch":"amd64"}}}}'
exec {docker} "$@"
"""
"""Dockers with a version that no Debian has."""
HANGS = "#!/bin/sh\nexec sleep 60\n"


def declare(folder: Path, *backends: str) -> None:
    """Write the config file of a project without git; each backend has the lines of its table."""
    if (folder / ".git").exists():
        (folder / ".git").rmdir()
    tables = (f"[[cache.backends]]\n{each}\n" for each in backends)
    (folder / "bxcache.toml").write_text("".join(tables))


def in_store(store: Path) -> str:
    """Return the table of a store that is small enough for any disk."""
    return f'type = "local"\ndir = "{store}"\nmax_size = "50MB"'


def in_registry(address: str, name: str) -> str:
    """Return the table of a repository."""
    return f'type = "registry"\nref = "{address}/{name}"'


def examine(
    machine: Machine, *words: str, folder: Path, status: int = 0, **more: str
) -> dict[str, Any]:
    """Run the doctor and return its document."""
    ran = machine.run("doctor", "--json", *words, folder=folder, status=status, **more)
    assert ran.err == ""
    document: dict[str, Any] = json.loads(ran.out)
    assert (document["status"] == "error") == (status == UNHEALTHY)
    return document


def find_problems(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the findings that are not fine, by check; each explains itself."""
    found = [each for each in document["findings"] if each["status"] != "ok"]
    assert all(each["why"] for each in found)
    return {each["check"]: each for each in found}


def list_checks(document: dict[str, Any]) -> set[str]:
    return {each["check"] for each in document["findings"]}


EVERYTHING = {
    *("config", "place", "trust", "docker", "buildx", "engine", "builder", "export"),
    *("docker-config", "store", "content", "disk", "clock"),
    *("registry", "login", "pull", "push", "delete"),
}


def test_a_healthy_machine_is_fine_and_stays_as_it_is(
    machine: Machine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Every check is fine after a build, nothing in store and registry changes, and the text has a
    line for each."""
    name, store = tmp_path.name.lower(), tmp_path / "store"
    declare(project, in_store(store), in_registry(registry.address, name))
    machine.build(folder=project)
    tags = registry.ask("GET", f"/v2/{name}/tags/list").body
    before = {each: each.stat().st_mtime_ns for each in (store / "blobs").rglob("*")}
    uploads = registry.storage / "docker/registry/v2/repositories" / name / "_uploads"
    begun = [*uploads.iterdir()]
    document = examine(machine, folder=project)
    assert find_problems(document) == {}
    assert list_checks(document) == EVERYTHING
    assert registry.ask("GET", f"/v2/{name}/tags/list").body == tags
    # What is left of a canceled one in this registry is an empty folder.
    assert not [each for each in uploads.rglob("data") if each.parent not in begun]
    assert {each: each.stat().st_mtime_ns for each in (store / "blobs").rglob("*")} == before
    lines = machine.run("doctor", folder=project).out.splitlines()
    assert len([line for line in lines if line.startswith("ok  ")]) == len(document["findings"])
    assert len(lines) == len(document["findings"]) + 2


def test_a_builder_is_created_where_none_can_export(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """A classic engine is an error; the fix creates a builder, and the next build saves there.

    A declared builder that is missing is created, too.
    """
    classic = machines("classic")
    engine = cast("Engine", classic.engine)
    declare(project, in_store(tmp_path / "store"))
    found = find_problems(examine(classic, folder=project, status=UNHEALTHY))
    assert {*found} == {"export"}
    assert "classic image store" in found["export"]["found"]
    assert found["export"]["why"] == "`local` caches are not saved"
    assert CREATE in found["export"]["remedy"]
    assert found["export"]["fixable"]
    image = load_builder_image(engine)
    group = f"/{engine.folder.name}/buildx"
    machine = classic.where_builders_have(f"image={image},network=none,cgroup-parent={group}")
    document = examine(machine, "--fix", folder=project)
    (mended,) = document["mended"]
    assert (mended["check"], mended["error"]) == ("export", None)
    assert "the builder `bxcache` was created" in mended["did"][0]
    assert find_problems(document) == {}
    assert machine.build(folder=project)["caches"][0]["exported"]
    # Where a variable names the builder, another one would not be used.
    named = examine(machine, folder=project, status=UNHEALTHY, BUILDX_BUILDER="default")
    assert not find_problems(named)["export"]["fixable"]
    again = examine(machine, "--fix", folder=project)
    assert again["mended"] == []
    with (project / "bxcache.toml").open("a") as file:
        file.write('[builder]\nname = "own"\n')
    missing = find_problems(examine(machine, folder=project, status=UNHEALTHY))["builder"]
    assert missing["found"] == "there is no builder `own`, which `[builder]` names"
    own = examine(machine, "--fix", folder=project)
    assert own["mended"][0]["did"] == ["the builder `own` was created"]
    assert find_problems(own) == {}


def test_a_builder_that_does_not_start_is_not_left(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """The document says why, the exit status is that of an error, and no builder stays."""
    declare(project, in_store(tmp_path / "store"))
    machine = machines("classic").where_builders_have("image=127.0.0.1:1/none:none,network=none")
    document = examine(machine, "--fix", folder=project, status=UNHEALTHY)
    (mended,) = document["mended"]
    assert "the builder `bxcache` does not start" in mended["error"]
    assert "bxcache" not in machine.docker("buildx", "ls", folder=project).stdout


@pytest.mark.parametrize(
    ("script", "check", "words"),
    [
        (OLD_BUILDX, "buildx", "buildx 0.12.1 is too old; bxcache needs 0.13"),
        (OLD_ENGINE, "export", "docker engine 24.0.9 is too old: this needs 26.0"),
    ],
)
def test_what_is_too_old_is_an_error(
    script: str, check: str, words: str, machine: Machine, project: Path, tmp_path: Path
) -> None:
    """The error names the version and the one that is needed."""
    declare(project, in_store(tmp_path / "store"))
    if machine.builder:
        pytest.skip("an outside engine is used through a builder of its own")
    found = find_problems(examine(machine.with_docker(script), folder=project, status=UNHEALTHY))
    assert {*found} == {check}
    assert words in found[check]["found"]
    assert found[check]["remedy"]


def test_the_oldest_engine_is_fine(machines: MakeMachine, project: Path, tmp_path: Path) -> None:
    """The oldest supported docker has no problem."""
    declare(project, in_store(tmp_path / "store"))
    assert find_problems(examine(machines("oldest"), folder=project)) == {}


def test_what_is_missing_is_an_error(machine: Machine, project: Path, tmp_path: Path) -> None:
    """A stopped engine, a missing buildx and an unknown builder each have an error of their own;
    the others go on."""
    declare(project, in_store(tmp_path / "store"))
    (tmp_path / "empty").mkdir()
    nothing = {"DOCKER_HOST": f"unix://{tmp_path / 'nothing'}", "BUILDX_BUILDER": ""}
    stopped = examine(machine, folder=project, status=UNHEALTHY, **nothing)
    assert "docker's engine does not answer" in find_problems(stopped)["engine"]["found"]
    assert "systemctl start docker" in find_problems(stopped)["engine"]["remedy"]
    nobody = examine(machine, folder=project, status=UNHEALTHY, BUILDX_BUILDER="nobody")
    (builder,) = find_problems(nobody).values()
    assert builder["found"] == "there is no builder `nobody`, which BUILDX_BUILDER names"
    assert builder["remedy"].endswith("; or change BUILDX_BUILDER")
    if not any(Path(plugin).exists() for plugin in PLUGINS):
        alone = {"DOCKER_CONFIG": str(tmp_path / "empty")}
        without = examine(machine, folder=project, status=UNHEALTHY, **alone)
        assert "has no buildx plugin" in find_problems(without)["buildx"]["found"]
        for words in (("ls",), ("up",), ("rm", "nobody")):
            ran = machine.run("builder", *words, folder=project, status=69, **alone)
            assert "docker has no buildx plugin" in ran.err
    for document in (stopped, nobody):
        assert {"store", "disk", "docker-config", "trust"} <= list_checks(document)


def test_a_broken_store_is_repaired(saved: Saved, machine: Machine) -> None:
    """A layer that is gone and leftovers are found and mended, and the next build hits the rest."""
    declare(saved.project, in_store(saved.store))
    blobs = sorted((saved.store / "blobs/sha256").iterdir(), key=lambda each: each.stat().st_size)
    blobs[-1].unlink()
    (saved.store / ".index.json.1.tmp").touch()
    found = find_problems(examine(machine, folder=saved.project, status=UNHEALTHY))
    assert {*found} == {"content", "leftovers"}
    assert blobs[-1].name in found["content"]["found"]
    document = examine(machine, "--fix", folder=saved.project)
    assert {each["check"] for each in document["mended"]} == {"content", "leftovers"}
    assert find_problems(document) == {}
    assert not (saved.store / ".index.json.1.tmp").exists()
    machine.docker("buildx", "prune", "--all", "--force", folder=saved.project)
    reused, executed = count(machine.build(folder=saved.project))
    assert reused + executed == STEPS
    assert reused


def test_a_folder_of_plain_buildx_is_adopted(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """What plain buildx exported is an error with the command that adopts it; the fix does, and the
    next build reuses every step."""
    store = tmp_path / "cache"
    machine.raw("--cache-to", f"type=local,dest={store},mode=max", ".", folder=project)
    machine.docker("buildx", "prune", "--all", "--force", folder=project)
    declare(project, in_store(store))
    found = find_problems(examine(machine, folder=project, status=UNHEALTHY))["store"]
    assert f"bxcache store adopt {store}" in found["remedy"]
    document = examine(machine, "--fix", folder=project)
    assert "is a store now, with 1 scope" in document["mended"][0]["did"][-1]
    assert find_problems(document) == {}
    assert count(machine.build(folder=project)) == (STEPS, 0)


def test_a_read_only_disk_is_an_error(saved: Saved, machine: Machine, tmp_path: Path) -> None:
    """A store on a disk that is mounted read-only is an error that a person has to mend."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk("tmpfs", tmp_path, 16 << 20))
        except DiskError as error:
            if os.environ.get("CI"):
                pytest.fail(f"a small disk is needed in CI: {error}")
            pytest.skip(str(error))
        shutil.copytree(saved.store, disk / "store", symlinks=True)
        declare(saved.project, in_store(disk / "store"))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        found = find_problems(examine(machine, folder=saved.project, status=UNHEALTHY))
        assert "is on a disk that is mounted read-only" in found["store"]["found"]
        assert not found["store"]["fixable"]


def test_logins_and_their_sources_are_shown(
    machine: Machine, private_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Without a login, reading and writing are refused; an expired one is named; one from a helper
    is fine. No document has the password."""
    address = private_registry.address
    declare(project, in_registry(address, tmp_path.name.lower()))
    nobody = find_problems(examine(machine, folder=project, status=UNHEALTHY))
    assert {*nobody} == {"pull", "push"}
    assert f"docker login {address}" in nobody["push"]["remedy"]
    expired = replace(LOGIN, password="expired-password")
    refused = examine(machine.logged_in(address, expired), folder=project, status=UNHEALTHY)
    assert f"refuses the login of `{LOGIN.user}`" in find_problems(refused)["login"]["found"]
    known = examine(machine.with_helper(address, LOGIN), folder=project)
    assert find_problems(known) == {}
    (login,) = (each["found"] for each in known["findings"] if each["check"] == "login")
    assert login == f"`{LOGIN.user}` at `{address}`, from docker-credential-test"
    texts = json.dumps([refused, known])
    assert LOGIN.password not in texts
    assert "expired-password" not in texts


READ_ONLY = Answer(405, "UNSUPPORTED")


@pytest.mark.parametrize(
    ("rule", "fault", "expected"),
    [
        (Rule("POST"), READ_ONLY, {"push": "error"}),
        (Rule("POST"), FORBIDDEN, {"push": "error"}),
        (Rule("DELETE"), READ_ONLY, {"delete": "warning"}),
        (Rule(), FORBIDDEN, {"pull": "error", "push": "error"}),
        (Rule(), UNAUTHORIZED, {"pull": "error", "push": "error"}),
    ],
)
def test_what_a_registry_refuses_is_named(
    rule: Rule,
    fault: Answer,
    expected: dict[str, str],
    machine: Machine,
    proxy: FaultyProxy,
    project: Path,
    tmp_path: Path,
) -> None:
    """A read-only or refusing registry is an error, one that removes nothing a warning."""
    proxy.fail(matching=rule, fault=fault)
    declare(project, in_registry(proxy.address, tmp_path.name.lower()))
    status = UNHEALTHY if "error" in expected.values() else 0
    found = find_problems(examine(machine, folder=project, status=status))
    assert {check: each["status"] for check, each in found.items()} == expected


def test_a_registry_that_deletes_nothing_is_a_warning(machine: Machine, project: Path) -> None:
    """A real registry that forbids deletes costs a warning, as pruning it will not work."""
    with Registry(deletes=False) as registry:
        declare(project, in_registry(registry.address, "app"))
        (found,) = find_problems(examine(machine, folder=project)).values()
    assert (found["check"], found["status"]) == ("delete", "warning")
    assert "registry prune" in found["remedy"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -9 $$", "crashes: signal 9"),
        (None, "is not on PATH"),
    ],
)
def test_a_bad_credential_helper_is_named(
    script: str | None,
    words: str,
    machine: Machine,
    registry: Registry,
    project: Path,
    tmp_path: Path,
) -> None:
    """A helper that crashes or is missing has one finding, and the registry is still asked."""
    helped = machine.with_helper(registry.address, LOGIN)
    assert helped.settings is not None
    helper = helped.settings / "bin" / "docker-credential-test"
    helper.unlink()
    if script is not None:
        write_program(helper, f"#!/bin/sh\n{script}\n")
    declare(project, in_registry(registry.address, tmp_path.name.lower()))
    document = examine(helped, folder=project)
    (found,) = find_problems(document).values()
    assert found["check"] == "login"
    assert found["found"] == f"`docker-credential-test` {words}"
    assert {"pull", "push", "delete"} <= list_checks(document)


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_what_hangs_is_given_up(
    machine: Machine, registry: Registry, proxy: FaultyProxy, project: Path, tmp_path: Path
) -> None:
    """A docker, a credential helper and a registry that hang are an error each after 5 s, and
    everything else is examined."""
    silent = machine.with_docker(HANGS)
    assert silent.settings is not None
    write_program(silent.settings / "bin" / "docker-credential-test", HANGS)
    helpers = {"credHelpers": {registry.address: "test"}}
    (silent.settings / "config.json").write_text(json.dumps(helpers))
    proxy.fail(fault=Stall())
    name = tmp_path.name.lower()
    repositories = (in_registry(each.address, name) for each in (registry, proxy))
    declare(project, in_store(tmp_path / "store"), *repositories)
    document = examine(silent, folder=project, status=UNHEALTHY)
    found = find_problems(document)
    assert {*found} == {"engine", "login", "registry"}
    assert found["engine"]["found"] == "docker did not answer within 5 s"
    assert found["login"]["found"] == "`docker-credential-test` does not answer within 5 s"
    assert found["registry"]["found"] == f"`{proxy.address}/{name}`: it did not answer in time"
    assert {"store", "disk", "push", "trust"} <= list_checks(document)


def test_githubs_service_is_asked(machine: Machine, actions: CacheService, project: Path) -> None:
    """A job's service answers; one that accepts and never answers is an error; the token is in no
    document."""
    declare(project)
    job: dict[str, Any] = {**actions.job, "BXCACHE_CACHE_BACKENDS": "type=gha"}
    found = examine(machine, folder=project, **job)
    assert find_problems(found).keys() <= {"place"}
    assert {"service", "login"} <= list_checks(found)
    address = actions.url.removeprefix("http://").rstrip("/")
    with FaultyProxy(address) as proxy:
        proxy.fail(fault=Stall())
        silent = {name: text.replace(address, proxy.address) for name, text in job.items()}
        stalled = examine(machine, folder=project, status=UNHEALTHY, **silent)
    assert find_problems(stalled).keys() - {"place"} == {"service"}
    assert actions.token not in json.dumps([found, stalled])


def test_a_bucket_is_asked(machine: Machine, s3: S3, project: Path) -> None:
    """Docker's own builder cannot use it, which is an error with a remedy; a wrong key is one of
    the service; no document has the key."""
    declare(project)
    backend = f"bucket={BUCKET},region=us-east-1,endpoint_url={s3.url},use_path_style=true"
    job = {**s3.job, "BXCACHE_CACHE_BACKENDS": f"type=s3,{backend}"}
    found = examine(machine, folder=project, status=UNHEALTHY, **job)
    (export,) = find_problems(found).values()
    assert export["found"] == "docker's own builder has no `s3` caches"
    assert "`bxcache builder up`" in export["remedy"]
    fine = [each["found"] for each in found["findings"] if each["status"] == "ok"]
    (saves,) = (each for each in fine if each.startswith("the builder can save"))
    assert saves.endswith(
        "`local`, `registry`, `inline` and `gha` caches, in the containerd image store"
    )
    assert {"service", "login"} <= list_checks(found)
    wrong = {**job, "AWS_SECRET_ACCESS_KEY": "wrong-secret-key"}
    refused = examine(machine, folder=project, status=UNHEALTHY, **wrong)
    assert find_problems(refused).keys() == {"export", "service"}
    texts = json.dumps([found, refused])
    assert SECRET_KEY not in texts
    assert "wrong-secret-key" not in texts


def test_what_caching_was_worth_is_shown(machine: Machine, tmp_path: Path) -> None:
    """The doctor counts for each stage what the builds reused and executed, as they reported it."""
    app = write_new(tmp_path, write_two_stages)
    documents = [rebuild(machine, app)]
    for edit in ("one", "two", "three"):
        (app / "main.py").write_text(edit)
        documents.append(rebuild(machine, app))
    source = ("--from", name_store(app)[1].partition("dir=")[2])
    ran = machine.run("doctor", "--cache", "--json", *source, folder=app)
    found = json.loads(ran.out)
    assert found["builds"] == len(documents)
    for stage in found["stages"]:
        for outcome in ("reused", "executed"):
            steps = [
                step
                for document in documents[1:]
                for step in document["steps"]
                if (step["stage"], step["outcome"]) == (stage["stage"], outcome)
            ]
            assert stage[outcome] == len(steps), stage["stage"]
    own = {each["stage"]: each for each in found["stages"]}
    assert (own["app"]["worth"], own["app"]["blocker"]["name"]) == ("never", "main.py")
    shown = machine.run("doctor", "--cache", *source, folder=app).out
    assert "app: not reused in 3 builds: each time, content of `main.py` changed" in shown
    machine.run("doctor", "--cache", "--fix", folder=app, status=2)


def write_two_stages(folder: Path) -> None:
    """Write an application whose last stage changes with each edit."""
    write_base(folder, "FROM base AS app\nCOPY main.py /main.py\nRUN cat /main.py > /app\n")
    write_files(folder, ("main.py",))
