"""What decides whether BuildKit reuses a step, read from the step's operation.

BuildKit makes a step's cache key from its operation and from the content of the files that the
step reads. Where the files lie and who owns them does not count, nor do the values of proxy
variables, secrets and SSH agents. How it makes the keys:
https://github.com/moby/buildkit/blob/v0.25.2/solver/llbsolver/ops/exec.go and
https://github.com/moby/buildkit/blob/v0.25.2/solver/llbsolver/ops/file.go (`CacheMap`).
"""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.buildx.values import as_list, as_number, as_table, read_items, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOCAL = "local://"
"""How the source of a build context begins."""
_ROOT = "/"
# https://github.com/moby/buildkit/blob/v0.25.2/solver/pb/ops.proto
_BYPASSING = {1: "secret", 2: "ssh"}
_NETWORKS = {0: "default", 1: "host", 2: "none"}
_SECURITY = {0: "sandbox", 1: "insecure"}


class FileRead(Struct, frozen=True):
    """Files of a build context that a step reads.

    Attributes:
        path: an absolute path in the context, or a pattern for several.
        context: the name of the context; the main one is `context`.
        is_pattern: whether the path is a pattern.
        follows: whether a symbolic link at the path stands for its target.
        included, excluded: patterns of an ignore file that limit what is read below the path.
    """

    path: str
    context: str = ""
    is_pattern: bool = False
    follows: bool = False
    included: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


class StepInputs(Struct, frozen=True):
    """What decides whether a step is reused, apart from the step that it builds on.

    Attributes:
        settings: what instructions such as `USER` set for it, by name.
        environment: the variables that it has, with their values, which can be secret.
        definition: everything else that it says, as JSON.
        reads: the files that it reads of build contexts.
        needs: the vertices of other steps and of images whose files it reads.
        bypassing: the kinds of mounts whose content does not count, `secret` or `ssh`.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    definition: str = ""
    reads: tuple[FileRead, ...] = ()
    needs: tuple[str, ...] = ()
    bypassing: tuple[str, ...] = ()


class Described(Struct, frozen=True):
    """An operation as BuildKit describes it.

    Attributes:
        op: its kind, and all that it says.
        inputs: the vertices of its inputs.
        platform: the platform that it runs on.
    """

    op: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    platform: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The source of its files, such as `local://context`; empty unless it is one."""
        return read_text(as_table(self.op.get("source")), "identifier")


def read_inputs(vertex: str, known: Mapping[str, Described], below: str | None) -> StepInputs:
    """Read what decides whether a step is reused.

    Args:
        vertex: the step's operation.
        known: all operations of the build, by vertex.
        below: the vertex of the step that it builds on.
    """
    found = known.get(vertex, Described())
    if not found.op:
        return StepInputs()
    reader = _Reader(known, below)
    if "exec" in found.op:
        return reader.read_exec(found)
    return reader.read_files(found)


class _Reader:
    """Reads the inputs of one step."""

    def __init__(self, known: Mapping[str, Described], below: str | None) -> None:
        self._known = known
        self._below = below
        self._reads: list[FileRead] = []
        self._needs: list[str] = []

    def read_exec(self, found: Described) -> StepInputs:
        """Read the inputs of a command."""
        op = as_table(found.op["exec"])
        meta, mounts = as_table(op.get("meta")), read_items(op, "mounts")
        shown = []
        for mount in mounts:
            self._read_mount(mount, found)
            shown.append({k: v for k, v in mount.items() if k not in {"selector", "resultID"}})
        pairs = (str(each).partition("=") for each in as_list(meta.get("env")))
        decides = {k: v for k, v in meta.items() if k not in _SET and k not in _UNCOUNTED}
        kinds = {_BYPASSING.get(as_number(each.get("mountType"))) for each in mounts}
        kinds |= {"secret"} if read_items(op, "secretenv") else set()
        rest = {k: v for k, v in op.items() if k not in {"meta", "mounts", "network", "security"}}
        return StepInputs(
            settings=_read_settings(op, meta, found.platform),
            environment={name: value for name, _, value in pairs},
            definition=_write({"meta": decides, "mounts": shown, **rest}),
            reads=tuple(self._reads),
            needs=tuple(dict.fromkeys(self._needs)),
            bypassing=tuple(sorted(filter(None, kinds))),
        )

    def _read_mount(self, mount: Mapping[str, Any], found: Described) -> None:
        at = as_number(mount.get("input"))
        is_file = not as_number(mount.get("mountType")) and mount.get("dest") != _ROOT
        if is_file and 0 <= at < len(found.inputs):
            selector = read_text(mount, "selector") or _ROOT
            self._note(found.inputs[at], FileRead(path=posixpath.join(_ROOT, selector)))

    def read_files(self, found: Described) -> StepInputs:
        """Read the inputs of a copy, a new folder, or a merge of one with what is below."""
        definition = _write([*self._list_actions(found)])
        return StepInputs(
            settings=_read_settings({}, {}, found.platform),
            definition=definition,
            reads=tuple(self._reads),
            needs=tuple(dict.fromkeys(self._needs)),
        )

    def _list_actions(self, found: Described) -> Iterator[object]:
        """List what it does to files, and what the operations do that are no steps themselves."""
        for kind, op in found.op.items():
            if kind == "file":
                actions = read_items(as_table(op), "actions")
                yield from (self._show_action(each, found) for each in actions)
            elif kind == "merge":
                for vertex in found.inputs:
                    if vertex != self._below and vertex in self._known:
                        yield from self._list_actions(self._known[vertex])
            elif kind != "source":
                yield {kind: op}

    def _show_action(self, action: Mapping[str, Any], found: Described) -> object:
        done = as_table(action.get("Action"))
        copied = as_table(done.get("copy"))
        at = as_number(action.get("secondaryInput"))
        if not copied or not 0 <= at < len(found.inputs):
            return action
        path = read_text(copied, "src")
        own = FileRead(
            path=path,
            is_pattern=bool(copied.get("allowWildcard")) and has_pattern(path),
            follows=bool(copied.get("followSymlink")),
            included=_read_patterns(copied, "includePatterns"),
            excluded=_read_patterns(copied, "excludePatterns"),
        )
        inner = self._note(found.inputs[at], own)
        # Which folder the files come from does not count, only what they contain.
        shown = {**copied, "src": posixpath.basename(path)}
        return {**action, "Action": {**done, "copy": shown}, "of": inner}

    def _note(self, vertex: str, read: FileRead) -> list[object]:
        """Note what is read of an input; describe an input that is neither a step nor a source."""
        described = self._known.get(vertex, Described())
        if described.source.startswith(LOCAL):
            name = described.source.removeprefix(LOCAL)
            self._reads.append(replace(read, context=name))
        elif "file" in described.op and not described.inputs:
            # The content of a heredoc is a file that nothing lies below.
            return [*self._list_actions(described)]
        elif vertex != self._below:
            self._needs.append(vertex)
        return []


_SET = {"env", "cwd", "user", "hostname", "extraHosts"}
_UNCOUNTED = {"proxyEnv", "removeMountStubsRecursive"}


def _read_settings(
    op: Mapping[str, Any], meta: Mapping[str, Any], platform: Mapping[str, Any]
) -> dict[str, str]:
    hosts = sorted(read_text(each, "Host") for each in read_items(meta, "extraHosts"))
    parts = (read_text(platform, key) for key in ("OS", "Architecture", "Variant"))
    found = {
        "shell": " ".join(str(each) for each in as_list(meta.get("args"))[:-1]),
        "user": read_text(meta, "user"),
        "folder": read_text(meta, "cwd"),
        "hostname": read_text(meta, "hostname"),
        "hosts": " ".join(hosts),
        "network": _NETWORKS.get(as_number(op.get("network")), "") if op else "",
        "security": _SECURITY.get(as_number(op.get("security")), "") if op else "",
        "platform": "/".join(filter(None, parts)),
    }
    return {name: value for name, value in found.items() if value}


def _read_patterns(copied: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(each for each in as_list(copied.get(key)) if isinstance(each, str))


def has_pattern(path: str) -> bool:
    """Whether a path is a pattern for several, as BuildKit's `containsWildcards` decides it."""
    rest = iter(path)
    for letter in rest:
        if letter == "\\":
            next(rest, "")
        elif letter in "*?[":
            return True
    return False


def _write(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
