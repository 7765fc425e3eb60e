"""No secret that docker gets is in anything that bxcache prints, keeps or leaves behind."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

from bxcache.store.store import Store
from tests.engines import LOGIN, Registry, busybox_context
from tests.real.conftest import MakeMachine
from tests.real.machines import Machine, Ran
from tests.support.secret_forms import FORMS

ODD = ' "x" &<é+/$\\'
"""Characters that encodings change, where a secret can contain them."""
VARIABLES = {name: f"c4n4ry-{name.lower()}-9q{ODD}" for name in ("AUTH", "QUOTED", "FOLDED", "OWN")}
VARIABLES |= {
    name: f"c4n4ry-{name.lower()}-9q{ODD}" for name in ("IN_CONFIG", "TYPED", "SHELL_JWT")
}
FILES = {"by-name": f"c4n4ry-by-name-9q{ODD}", "by-id": f"c4n4ry-by-id-9q{ODD}"}
NESTED = "c4n4ry-nested-9q"
ARGUMENT, ATTRIBUTE, LABEL = "c4n4ry-argument-9q", "c4n4ry-attribute-9q", "c4n4ry-label-9q"
USER, DECLARED = "c4n4ry-user-9q", "c4n4ry-declared-9q"
SECRETS = (*VARIABLES.values(), *FILES.values(), NESTED, ARGUMENT, ATTRIBUTE, LABEL, USER, DECLARED)
"""Every secret that docker gets; the steps print each in every form."""
DOCKERFILE = """\
ARG NPM_TOKEN
ARG INDEX
WORKDIR /$NPM_TOKEN
RUN --mount=type=secret,id=q --mount=type=secret,id=f --mount=type=secret,id=by-id \
    --mount=type=secret,id=nested cat /run/secrets/*; base64 /run/secrets/q; echo $INDEX
COPY forms /forms
RUN cat /forms; cat /forms >&2
"""
LEFT = """\
[build]
network = "none"
secrets = ["id=declared,env=IN_CONFIG", "id=by-id,src=by-name"]
build_args = {{ SSHKEY = "{declared}" }}
outputs = ["type=cacheonly"]
[[cache.backends]]
type = "local"
dir = "store"
[[cache.backends]]
type = "registry"
ref = "{ref}"
"""
MOST = ("--build-arg", "INDEX=https://me:{user}@example.com/simple", "--label", "pgpass={label}")
BEHIND = (
    *("--build-arg=NPM_TOKEN={argument}", "--build-arg=AUTH", "--build-arg", "X={shell}"),
    *("--secret", '"id=q","env=QUOTED"', "--secret=ID=f,Env=FOLDED", "--secret=id=OWN"),
    *("--secret", "type=env,id=t,src=TYPED", "--secret=id=by-id", "--secret=id=nested,src=npmrc"),
    *(
        "--cache-from",
        "type=s3,region=a,bucket=b,access_key_id=c4n4ry-id,api_key={attribute}",
    ),
)
"""The ways in, on one command line."""


BAKE = """\
variable "SHELL_JWT" {{}}
target "default" {{
  network = "none"
  args = {{ NPM_TOKEN = "{declared}", INDEX = "https://me:{user}@example.com", X = SHELL_JWT }}
  labels = {{ pgpass = "{label}" }}
  secret = [
    "id=AUTH", "id=q,env=QUOTED", "ID=f,Env=FOLDED", "id=OWN", "id=c,env=IN_CONFIG",
    "type=env,id=t,src=TYPED", "id=by-id", "id=n,src=by-name",
  ]
  cache-from = ["type=s3,region=a,bucket=b,access_key_id=c4n4ry-id,api_key={attribute}"]
}}
target "broken" {{
  inherits = ["default"]
  dockerfile = "broken"
}}
"""
SETS = (
    *("--set", "*.args.SSHKEY={argument}", "--", "--set=*.secrets+=id=nested,src=npmrc"),
    "--set=*.output=type=cacheonly",
)
"""The same for a bake."""


def fill(words: tuple[str, ...]) -> list[str]:
    """Return the words of a command with their secrets."""
    known = {"user": USER, "label": LABEL, "argument": ARGUMENT, "attribute": ATTRIBUTE}
    return [word.format(**known, shell=VARIABLES["SHELL_JWT"]) for word in words]


def reveal(data: bytes) -> Iterator[bytes]:
    """Yield some bytes and what is encoded in them, like the logs in BuildKit's stream."""
    yield data
    for word in re.findall(rb'"data": ?"([A-Za-z0-9+/=]+)"', data):
        yield base64.b64decode(word)


def find_leaks(data: bytes) -> list[tuple[str, str]]:
    """Return the secrets in some bytes, each with its form there."""
    return [
        (secret, name)
        for text in reveal(data)
        for secret in SECRETS
        for name, encode in FORMS.items()
        if encode(secret).rstrip("=")[:-1].encode() in text
    ]


def list_files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def make_project(folder: Path, ref: str) -> Path:
    """Make a project whose steps print every secret in every form."""
    folder.mkdir()
    (folder / ".git").mkdir()
    (folder / "Dockerfile").write_text(busybox_context(folder) + DOCKERFILE)
    (folder / "broken").write_text(busybox_context(folder) + DOCKERFILE + "RUN cat /forms; false\n")
    lines = [f"{encode(secret)}\n" for secret in SECRETS for encode in FORMS.values()]
    (folder / "forms").write_text("".join(lines))
    (folder / ".dockerignore").write_text("*\n!forms\n!busybox\n")
    for name, secret in FILES.items():
        (folder / name).write_text(secret)
    (folder / "npmrc").write_text(f"//registry.example.com/:_authToken={NESTED}\n")
    known = {"declared": DECLARED, "user": USER, "label": LABEL, "attribute": ATTRIBUTE}
    (folder / "docker-bake.hcl").write_text(BAKE.format(**known))
    (folder / "bxcache.toml").write_text(LEFT.format(declared=DECLARED, ref=ref))
    return folder


def collect(ran: Ran) -> dict[str, bytes]:
    """Return what a command printed."""
    return {"stdout": ran.out.encode(), "stderr": ran.err.encode()}


def test_no_secret_leaves_a_build_or_a_bake(
    machines: MakeMachine, private_registry: Registry, tmp_path: Path
) -> None:
    """No secret, in any form, is in a stream, report, record, archive or registry."""
    ref = f"{private_registry.address}/{tmp_path.name.lower()}"
    project = make_project(tmp_path / "app", ref)
    machine = machines().logged_in(private_registry.address, LOGIN)
    (tmp_path / "tmp").mkdir()
    told: dict[str, dict[str, bytes]] = {}
    allowed: dict[str, str] = {}

    def run(*words: str, status: int = 0) -> Ran:
        more = {**VARIABLES, **allowed, "TMPDIR": str(tmp_path / "tmp")}
        ran = Machine.run(machine, *words, folder=project, status=status, **more)
        told[f"{len(told)} {' '.join(words[:2])}"] = collect(ran)
        return ran

    outs = ("--report=../r.html", "--report=../r.md", "--report=../r.json", "--trace=../t.json")
    ways, behind = fill(MOST), ["--", *fill(BEHIND)]
    # Who wants to have them in a registry has to say so.
    for words in (("build", *ways, *behind), ("bake", *fill(SETS))):
        assert "NPM_TOKEN: its name looks like that of a secret" in run(*words, status=78).err
    for words in (
        ("build", *ways, "--", *fill(("--cache-from", "type=s3,secret_access_key={attribute}"))),
        ("bake", *fill(("--set", "*.cache-from=type=s3,secret_access_key={attribute}"))),
    ):
        assert "would be shown in clear in the builder's history" in run(*words, status=78).err
    allowed["BXCACHE_CACHE_ALLOW_ARGS"] = "SSHKEY,INDEX,NPM_TOKEN,AUTH"
    built = json.loads(run("build", "--json", *outs, "--log=../log", *ways, *behind).out)
    assert "WORKDIR /***" in [each["text"] for each in built["steps"]]
    assert [each["exported"] for each in built["caches"]] == [True, True]
    assert (tmp_path / "r.html").read_text().count("***") > len(SECRETS)
    run("build", "--progress=rawjson", "--log=../logx", "-f", "broken", *ways, *behind, status=1)
    documents = [json.loads(line) for line in (tmp_path / "logx").read_text().splitlines()]
    assert any(each.get("stderr", "").startswith("ERROR: failed to") for each in documents)
    assert any("vertexes" in each for each in documents)
    run("build", "--dry-run", *ways, *behind)
    sets = fill(SETS)
    files = ("--report=../rb.html", "--report=../rb.md", "--trace=../tb.json", "--log=../logb")
    baked = json.loads(run("bake", "--json", *files, *sets).out)
    assert "WORKDIR /***" in [each["text"] for each in baked["targets"]["default"]["steps"]]
    run("bake", "--progress=plain", "broken", *sets, status=1)
    run("bake", "--dry-run", *sets)
    run("config", "show")
    for words in (("history",), ("report",), ("history", "--from", ref), ("store", "ls")):
        run(*words, "--json")
    run("store", "pack", "../store.tar.zst")
    run("store", "unpack", "--from", "../unpacked", "../store.tar.zst")
    assert Store(tmp_path / "unpacked").read_scopes()
    kept = {
        "files": {
            each.name: each.read_bytes() for each in tmp_path.glob("[rtl]*") if each.is_file()
        },
        "left": list_files(tmp_path / "tmp"),
        "store": list_files(project / "store"),
        "unpacked": list_files(tmp_path / "unpacked"),
        "registry": list_files(private_registry.storage),
    }
    assert not kept["left"]
    # The search finds the secrets where they are.
    assert len(find_leaks((project / "forms").read_bytes())) == len(SECRETS) * len(FORMS)
    leaks = {
        (where, name): found
        for where, sinks in {**told, **kept}.items()
        for name, data in sinks.items()
        if (found := find_leaks(data))
    }
    assert not leaks
    assert not any(
        each.encode() in data
        for sinks in told.values()
        for data in sinks.values()
        for each in (LOGIN.password, LOGIN.encoded)
    )
