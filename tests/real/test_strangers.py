"""The files of a stranger's pull request cannot reach the runner or trusted caches."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import busybox_context
from tests.real.conftest import STEPS
from tests.real.fleet import FORK, pull, push
from tests.real.machines import count

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Registry
    from tests.real.fleet import Variables
    from tests.real.machines import Machine

SECRET = "canary-4711"
ALWAYS: dict[str, Any] = {"BXCACHE_CACHE_WRITE": "always"}


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A stranger's checkout, whose Dockerfile contains busybox."""
    folder = tmp_path / "fork" / "app"
    (folder / ".git").mkdir(parents=True)
    base = busybox_context(folder).replace("AS base\n", "AS base\nCOPY own.txt /own\n")
    (folder / "own.txt").write_text(f"{folder}\n")
    (folder / "Dockerfile").write_text(base)
    return folder


@pytest.fixture
def event(tmp_path: Path) -> Variables:
    """The variables of a fork's pull request."""
    return pull("topic", tmp_path / "ci", head=FORK)


def read_tree(folder: Path) -> dict[str, str]:
    """Return every file of a folder with a digest of its bytes."""
    # Every reader writes this file, which names the holder of the lock.
    every = (path for path in sorted(folder.rglob("*")) if path.name != "holder")
    files = (path for path in every if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def write(folder: Path, config: str, dockerfile: str = "") -> None:
    (folder / "bxcache.toml").write_text(config)
    if dockerfile:
        with (folder / "Dockerfile").open("a") as file:
            file.write(dockerfile)


def test_outputs_never_replace_a_stores_content(
    machine: Machine, project: Path, fork: Path, event: Variables, tmp_path: Path
) -> None:
    """A stranger's output into a store is ignored, a caller's is refused; nothing is evicted."""
    store = tmp_path / "store"
    shared: dict[str, Any] = {"BXCACHE_CACHE_BACKENDS": f"type=local,dir={store}"}
    main = machine.build(folder=project, **shared)
    before = read_tree(store)
    for name in ("index.json", "oci-layout"):
        (fork / "pr").mkdir(exist_ok=True)
        (fork / "pr" / name).write_text("{}")
    output = f"type=local,dest={store}"
    (fork / "Dockerfile").write_text("FROM scratch\nCOPY pr/ /\n")
    write(fork, f"[build]\noutputs = ['{output}']\n")
    machine.build(folder=fork, **event, **shared)
    assert read_tree(store) == before
    ran = machine.run("build", "-o", output, folder=fork, status=78, **shared)
    assert f"would be written into the store `{store}`" in ran.err
    assert read_tree(store) == before
    # A stranger who may save saves beside it, whatever limits the config file has.
    write(fork, "[[cache.backends]]\ntype = 'local'\nmax_size = '1kB'\n")
    machine.build(folder=fork, **event, **shared, **ALWAYS)
    blobs = {name: digest for name, digest in before.items() if name.startswith("blobs/")}
    assert blobs.items() <= read_tree(store).items()
    again = machine.build(folder=project, **shared)
    assert count(again) == (STEPS, 0)
    assert again["caches"][0]["digest"] == main["caches"][0]["digest"]


def test_a_stranger_reaches_no_variable_file_or_proxy_of_the_runner(
    machine: Machine, fork: Path, event: Variables, tmp_path: Path
) -> None:
    """A stranger's settings that ask for them are ignored, and a caller's own flags apply."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "Dockerfile").write_text("FROM nowhere\n")
    (outside / "file").write_text(SECRET)
    (fork / "link").symlink_to(outside)
    config = f"""\
[build]
secrets = ["id=a,env=DEPLOY_PASSWORD", "id=b,src={outside}/file"]
file = "link/Dockerfile"
network = "host"
[build.build_contexts]
host = "{outside}"
link = "link"
[build.build_args]
HTTP_PROXY = "http://127.0.0.1:1"
WORD = "heard"
"""
    steps = """\
FROM scratch AS host
COPY own.txt /file
FROM scratch AS link
COPY own.txt /file
FROM base
ARG WORD
COPY --from=host /file /host
COPY --from=link /file /link
RUN --mount=type=secret,id=a --mount=type=secret,id=b \\
  echo "$WORD,$HTTP_PROXY,$(cat /run/secrets/* 2>&1)" > /said; env >> /said
"""
    write(fork, config, steps)
    machine.build(
        "-o", f"type=local,dest={tmp_path / 'out'}", folder=fork, **event, DEPLOY_PASSWORD=SECRET
    )
    said = (tmp_path / "out" / "said").read_text()
    assert said.startswith("heard,,")
    assert SECRET not in said
    assert "PROXY" not in said
    own = (fork / "own.txt").read_text()
    assert {(tmp_path / "out" / name).read_text() for name in ("host", "link")} == {own}
    words = ("--secret", "id=a,env=DEPLOY_PASSWORD", "--build-context", f"host={outside}")
    machine.build(
        *words,
        "-o",
        f"type=local,dest={tmp_path / 'own'}",
        folder=fork,
        **event,
        DEPLOY_PASSWORD=SECRET,
    )
    assert SECRET in (tmp_path / "own" / "said").read_text()
    assert (tmp_path / "own" / "host").read_text() == SECRET


def test_a_stranger_writes_no_tag_that_a_trusted_build_reads(
    machine: Machine, registry: Registry, fork: Path, event: Variables, tmp_path: Path
) -> None:
    """A stranger cannot write such a tag by a push, an output or a declared cache."""
    name = tmp_path.name.lower()
    ref = f"{registry.address}/{name}"
    main = push("main", tmp_path / "main")
    backend = f"--backend=type=registry,ref={ref}"
    scope = machine.build(backend, folder=fork, **main)["caches"][0]["scope"]

    def list_tags() -> dict[str, str | None]:
        tags = json.loads(registry.ask("GET", f"/v2/{name}/tags/list").body)["tags"]
        kinds = (
            "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
        )
        heads = {
            tag: registry.ask("HEAD", f"/v2/{name}/manifests/{tag}", headers={"Accept": kinds})
            for tag in tags
        }
        return {tag: head.headers.get("Docker-Content-Digest") for tag, head in heads.items()}

    before = list_tags()
    assert scope in before
    cache = "[[cache.backends]]\ntype = 'registry'\nref = '{}'\n"
    outputs = f"outputs = ['type=registry,name={ref}:{scope}']\n"
    shared = f"type=registry,ref={ref}:shared;type=inline,ref={ref}:shared"
    write(fork, "", "RUN echo evil > /evil\n")
    attacks: list[tuple[str, dict[str, Any]]] = [
        (f"[build]\npush = true\ntags = ['{ref}:{scope}']\n{outputs}", {}),
        (cache.format(f"{ref}:{scope}") + cache.format(ref), ALWAYS),
        ("", {"BXCACHE_CACHE_BACKENDS": shared, **ALWAYS}),
    ]
    for config, variables in attacks:
        write(fork, config)
        machine.build(folder=fork, **event, **variables)
        assert list_tags() == before
    # A stranger cannot make docker send its login in clear.
    write(fork, f"{cache.format(ref)}insecure = true\n")
    ran = machine.run("build", "--dry-run", folder=fork, **event)
    assert f"ref={ref}:{scope}" in ran.out
    assert "insecure=true" not in ran.out
    assert "`cache.backends[0].insecure` (bxcache.toml:4)" in ran.out + ran.err


BAKE = """\
variable "DEPLOY_PASSWORD" {{ default = "unset" }}
target "app" {{
  network = "none"
  args = {{
    WORD = DEPLOY_PASSWORD
    HTTP_PROXY = "http://127.0.0.1:1"
    KEPT = "$${{HOME}} %%{{if}}"
  }}
  contexts = {{ host = "{outside}", link = "link" }}
  secret = ["id=a,env=DEPLOY_PASSWORD", "id=b,src={outside}/file"]
  ssh = ["default"]
  tags = ["{ref}:kept"]
  output = ["type=registry", "type=local,dest={store}"]
  cache-to = ["type=local,dest={store}", "type=registry,ref={ref}:kept"]
  cache-from = ["type=registry,ref={ref}:kept"]
}}
"""
COMPOSE = """\
services:
  app:
    build:
      context: .
      args: {{WORD: "${{DEPLOY_PASSWORD}}", OWN: "$DEPLOY_PASSWORD"}}
      secrets: [a]
      tags: ["{ref}:kept"]
secrets: {{a: {{environment: DEPLOY_PASSWORD}}}}
"""
BAKED = """\
FROM scratch AS host
COPY own.txt /file
FROM scratch AS link
COPY own.txt /file
FROM base
ARG WORD KEPT
COPY --from=host /file /host
COPY --from=link /file /link
RUN --mount=type=secret,id=a --mount=type=secret,id=b \\
  echo "$KEPT,$WORD,$HTTP_PROXY,$(cat /run/secrets/* 2>&1)" > /said
"""


def test_a_strangers_bake_file_applies_where_it_is_harmless(
    machine: Machine, registry: Registry, fork: Path, event: Variables, tmp_path: Path
) -> None:
    """Bake files are evaluated without the runner's variables; the caller's values apply."""
    outside, name = tmp_path / "outside", tmp_path.name.lower()
    outside.mkdir()
    (outside / "file").write_text(SECRET)
    (fork / "link").symlink_to(outside)
    ref = f"{registry.address}/{name}"
    runner: dict[str, Any] = {"DEPLOY_PASSWORD": SECRET}
    shared: dict[str, Any] = {"BXCACHE_CACHE_BACKENDS": f"type=local,dir={tmp_path / 'store'}"}
    machine.build("-t", f"{ref}:kept", "--push", folder=fork, **shared)
    kept, before = registry.manifest(name, "kept"), read_tree(tmp_path / "store")
    hostile = {"outside": outside, "ref": ref, "store": tmp_path / "store"}
    write(fork, "", BAKED)
    (fork / "docker-bake.hcl").write_text(BAKE.format(**hostile))
    (fork / "compose.yml").write_text(COMPOSE.format(**hostile))
    out = tmp_path / "out"
    out.mkdir()
    given = f"app.output=type=local,dest={out}"
    words = ("bake", "--json", "--set", given, "-f", "docker-bake.hcl", "app")
    ran = machine.run(*words, folder=fork, **event, **shared, **runner)
    said, own = (out / "said").read_text(), (fork / "own.txt").read_text()
    assert said.startswith("${HOME} %{if},unset,,")
    assert SECRET not in said + ran.out + ran.err
    assert [(out / each).read_text() for each in ("host", "link")] == [own, own]
    for key in (
        "args.HTTP_PROXY",
        "contexts.host",
        "secret",
        "ssh",
        "tags",
        "cache-to",
        "cache-from",
    ):
        assert f"`app.{key}`" in ran.err
    assert "app.output" not in ran.err
    assert registry.manifest(name, "kept") == kept
    assert read_tree(tmp_path / "store") == before
    # A Compose file reads files during evaluation, so it is refused unless all may be read.
    question = ("bake", "-f", "compose.yml", "--", "--print")
    refused = machine.run(*question, folder=fork, status=78, **event, **runner)
    assert "compose.yml: a Compose file can read any file of the runner" in refused.err
    free = (*question, "--allow", "fs.read=*")
    asked = machine.run(*free, folder=fork, **event, **runner)
    args = json.loads(asked.out)["target"]["app"]["args"]
    assert args == {"WORD": "", "OWN": ""}
    assert "DEPLOY_PASSWORD" not in asked.out
    # The caller's values apply.
    own_words = (*words, "--set", "app.args.WORD=said", "--", "--allow", f"fs.read={outside}")
    machine.run(*own_words, folder=fork, **event, **shared, **runner)
    assert (out / "said").read_text().startswith("${HOME} %{if},said,,")
    assert (out / "host").read_text() == SECRET
