"""Builds as large as real ones, as BuildKit would report them, and the state before docker runs."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bxcache.backends.declared import list_backends
from bxcache.buildx.capabilities import Builder, Capabilities, Node
from bxcache.buildx.driver import Docker
from bxcache.buildx.memory import Memory
from bxcache.buildx.metadata import Metadata, parse_metadata
from bxcache.buildx.run import Runner
from bxcache.buildx.stream.reader import TraceReader
from bxcache.buildx.stream.trace import Trace
from bxcache.config.loading import load_setup
from bxcache.config.sources import Layer
from bxcache.pipeline.prepare import Prepared
from bxcache.pipeline.request import BuildRequest
from bxcache.place.origin import Origin
from bxcache.place.place import Place
from bxcache.place.scope import Scope
from bxcache.place.trust import Trust
from bxcache.redaction import Redactor
from bxcache.store.store import Store
from tests.support.layouts import LAYER_TYPE, digest_of

IMAGE = "docker.io/library/debian:13-slim"
BASE_LAYERS = 4
STEPS_IN_STAGE = 10
STARTED = "2026-01-02T03:04:05.123456789Z"
ENDED = "2026-01-02T03:04:06.234567891Z"
TEXTS = """\
WORKDIR /srv/NAME

COPY services/NAME/package.json services/NAME/package-lock.json ./services/NAME/

RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --workspace=services/NAME
&& npm run build --workspace=services/NAME && npm prune --omit=dev

COPY --chown=1000:1000 services/NAME/src services/NAME/public /srv/NAME/

RUN apt-get update && apt-get install -y --no-install-recommends build-essential ca-certificates
curl git libffi-dev libpq-dev libssl-dev libNAME-dev pkg-config zlib1g-dev
&& rm -rf /var/lib/apt/lists/*

RUN --mount=type=bind,source=go.mod,target=go.mod --mount=type=bind,source=go.sum,target=go.sum
--mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build
go build -trimpath -ldflags="-s -w -X main.version=${VERSION}" -o /out/NAME ./cmd/NAME

RUN set -eux; arch="$(dpkg --print-architecture)"; case "$arch" in
amd64) url='https://downloads.example.com/NAME/NAME-5.4.1-linux-amd64.tar.xz';
sha256='b6ef3b4d7c1f0e9a85d2c6b1a0f7e8d9c4b3a2f1e0d9c8b7a6f5e4d3c2b1a0f9' ;;
arm64) url='https://downloads.example.com/NAME/NAME-5.4.1-linux-arm64.tar.xz';
sha256='0f9a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7d8e9f0a' ;;
*) echo >&2 "error: unsupported architecture '$arch'"; exit 1 ;; esac;
savedAptMark="$(apt-mark showmanual)"; apt-get update;
apt-get install -y --no-install-recommends wget xz-utils gnupg dirmngr;
wget -O NAME.tar.xz "$url" --progress=dot:giga; echo "$sha256 *NAME.tar.xz" | sha256sum -c -;
tar -C /usr/local -xf NAME.tar.xz --strip-components=1; rm NAME.tar.xz;
apt-mark auto '.*' > /dev/null; [ -z "$savedAptMark" ] || apt-mark manual $savedAptMark > /dev/null;
find /usr/local -type f -executable -exec ldd '{}' ';' | awk '/=>/ { print $(NF-1) }' | sort -u
| xargs -r dpkg-query --search | cut -d: -f1 | sort -u | xargs -r apt-mark manual;
apt-get purge -y --auto-remove -o APT::AutoRemove::RecommendsImportant=false;
rm -rf /var/lib/apt/lists/*; NAME --version
"""
# BuildKit shows an instruction's lines as one, and keeps their indentation.
INSTRUCTIONS = ["    ".join(text.splitlines()) for text in TEXTS.split("\n\n")]
NAMES = ("accounts", "billing", "catalog", "gateway", "mailer", "orders", "search", "worker")


def write_instruction(number: int) -> str:
    """Return a realistic instruction, different for each number."""
    name = f"{NAMES[number % len(NAMES)]}{number}"
    return INSTRUCTIONS[number % len(INSTRUCTIONS)].replace("NAME", name)


@dataclass(frozen=True)
class _Step:
    """A vertex; its layers are those of its whole chain."""

    number: int
    stage: str
    line: int
    text: str
    below: int | None
    layers: tuple[dict[str, Any], ...]

    @property
    def digest(self) -> str:
        return digest_of(f"vertex {self.number}".encode())

    @property
    def operation(self) -> dict[str, Any]:
        """The operation in the provenance, without its location and its layers."""
        told: dict[str, Any] = {"exec": {"mounts": [{"dest": "/"}]}}
        if self.below is None:
            told = {"source": {"identifier": f"docker-image://{IMAGE}@{digest_of(b'image')}"}}
        elif not self.text.startswith("RUN"):
            told = {"file": {"actions": [{"secondaryInput": 1}]}}
        inputs = {} if self.below is None else {"inputs": [f"step{self.below}:0"]}
        return {"id": f"step{self.number}", "op": {"Op": told}, **inputs}


def make_build(count: int) -> tuple[Trace, Metadata]:
    """Return a build with this many steps, whose first is the base image.

    All stages build on the first one, and each of the others copies from the previous one.
    """
    lines, steps = _write_build(count)
    reader = TraceReader()
    for step in steps:
        list(reader.feed(json.dumps({"vertexes": [_describe_vertex(step)]})))
    provenance = _describe_build("\n".join(lines), steps)
    document = {
        "buildx.build.provenance": provenance,
        "containerimage.digest": digest_of(b"built"),
    }
    return reader.finish(), parse_metadata(json.dumps(document))


def _write_build(count: int) -> tuple[list[str], list[_Step]]:
    lines = [f"FROM {IMAGE} AS base"]
    base = tuple(_make_layer(f"base {number}") for number in range(BASE_LAYERS))
    steps = [_Step(0, "base", 1, f"FROM {IMAGE}@{digest_of(b'image')}", None, base)]
    stage = "base"
    for number in range(1, count):
        text, below = write_instruction(number), number - 1
        if number > 1 and number % STEPS_IN_STAGE == 1:
            text = f"COPY --from={stage} /out /out"
            stage, below = f"part-{number // STEPS_IN_STAGE}", STEPS_IN_STAGE
            lines.append(f"FROM base AS {stage}")
        lines.append(text)
        layers = (*steps[below].layers, _make_layer(f"step {number}"))
        steps.append(_Step(number, stage, len(lines), text, below, layers))
    return lines, steps


def _make_layer(name: str) -> dict[str, Any]:
    size = random.Random(name).randrange(200, 90_000_000)
    return {"mediaType": LAYER_TYPE, "digest": digest_of(name.encode()), "size": size}


def _describe_vertex(step: _Step) -> dict[str, Any]:
    at = (step.number - 1) % STEPS_IN_STAGE + 2 if step.number else 1
    return {
        "digest": step.digest,
        "name": f"[{step.stage} {at}/{STEPS_IN_STAGE + 1}] {step.text}",
        "started": STARTED,
        "completed": ENDED,
    }


def _describe_build(dockerfile: str, steps: Sequence[_Step]) -> dict[str, Any]:
    infos = [{"filename": "Dockerfile", "data": base64.b64encode(dockerfile.encode()).decode()}]
    places = {
        f"step{each.number}": {"locations": [{"ranges": [{"start": {"line": each.line}}]}]}
        for each in steps
    }
    noted = {
        "source": {"infos": infos, "locations": places},
        "layers": {f"step{each.number}:0": [each.layers] for each in steps},
    }
    return {
        "buildConfig": {
            "digestMapping": {each.digest: f"step{each.number}" for each in steps},
            "llbDefinition": [each.operation for each in steps],
        },
        "metadata": {"https://mobyproject.org/buildkit@v1#metadata": noted},
    }


def make_prepared(folder: Path, store: Store, scope: Scope) -> Prepared:
    """Return a build of the project in a folder, as prepared before docker runs."""
    node = Node("default", "running", "v0.25.2", platforms=scope.platforms)
    setup = load_setup(folder, {}, flags=declare_store(store))
    return Prepared(
        request=BuildRequest(directory=folder),
        setup=setup,
        docker=Docker(("docker",)),
        capabilities=Capabilities("28.5.0", "28.5.0", None, Builder("default", "docker", (node,))),
        memory=Memory(folder / "docker.json", ""),
        trust=Trust(
            _make_place(scope.owner.text or None), writes=True, reason="", found=_make_place(None)
        ),
        scope=scope,
        backends=list_backends(setup),
        candidates=(),
        name="benchmark",
        notes=(),
        origin=Origin(),
    )


def declare_store(store: Store) -> Layer:
    """Return the flags that declare one store and nothing else."""
    return BuildRequest(
        options={"backends": [{"type": "local", "dir": str(store.path)}]}
    ).to_layer()


def make_silent_runner(prepared: Prepared) -> Runner:
    """Return the build's docker runner, without a receiver of events."""
    redact = Redactor(["correct horse battery staple"])
    return prepared.make_runner(redact, lambda _event: None, prepared.render_save)


def _make_place(branch: str | None) -> Place:
    return Place(
        provider="git",
        branch=branch,
        tag=None,
        base=None,
        default="main",
        pull_request=None,
        trusted=True,
        reason="",
        sources={},
        notes=(),
    )
