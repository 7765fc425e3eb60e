"""Find the secrets in docker's arguments as docker reads them, and mask them.

Secrets are: the value of a build argument or attribute whose name looks like a secret's, the values
that `--secret` and `--ssh` refer to, and the user part of a URL, before its `@`.

- https://github.com/docker/buildx/blob/v0.29.1/util/buildflags/secrets.go
- https://github.com/docker/buildx/blob/v0.29.1/util/buildflags/ssh.go
- https://github.com/moby/buildkit/blob/v0.25.2/session/secrets/secretsprovider/store.go
- https://docs.docker.com/reference/cli/docker/buildx/bake/#set
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bxcache.buildx.extra_flags import find_values
from bxcache.buildx.option_text import join_fields, split_fields
from bxcache.redaction import MASK, URL_USER, is_secret_name, mask_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bxcache.redaction import Redactor

_SECRET, _SSH, _ARGUMENT, _SET = "--secret", "--ssh", "--build-arg", "--set"
_KEYS = {"secret": _SECRET, "secrets": _SECRET, "ssh": _SSH, "args": _ARGUMENT}
"""The keys of a bake's target, with the flags that they correspond to."""
_LARGEST_FILE = 1 << 14
"""In bytes. A larger file is not a password, key or login."""
_DEPTH = 4
"""How deeply pairs are nested at most, as in `--set=app.cache-to=token=x`."""
_SHORTEST_VARIABLE = 8
_OF_A_SHELL = frozenset(("PWD", "OLDPWD", "SSH_AUTH_SOCK", "DESKTOP_SESSION"))
"""Common variables that are not secrets in spite of their names."""
_PAIR = re.compile(r"(?<![\w.-])(?P<name>[\w.-]+)[\"']?\s*[:=]\s*")
"""A name before its value in JSON, INI, YAML or a connection string."""
_QUERY = re.compile(r"(?<![\w.-])(?P<name>[\w.-]+)=")
"""The same in texts where a colon has another meaning, as in `app:latest`."""
_VALUE = re.compile(r"\"([^\"]+)|'([^']+)|([^\s\"',;&]+)")


def find_secrets(
    words: Iterable[str], environment: Mapping[str, str], directory: Path | None = None
) -> Iterator[str]:
    """Yield every secret value in a command, or a part of one.

    Variables and files that docker would read are read too, except large files and pipes, which can
    be read only once.
    """
    for secret in _list_secrets(tuple(words), environment, directory or Path()):
        yield secret
        yield from _list_parts(_PAIR, secret)


def _list_secrets(
    words: Sequence[str], environment: Mapping[str, str], directory: Path
) -> Iterator[str]:
    for word in words:
        yield from _find_pairs(word)
        yield from _list_parts(_QUERY, word)
    for flag, value in _list_given(words):
        if flag == _SECRET:
            yield from _read_secret(value, environment, directory)
        elif flag == _SSH:
            paths = filter(None, value.partition("=")[2].split(","))
            yield from (_read_file(directory / path) for path in paths)
        elif "=" not in value and is_secret_name(value):
            yield environment.get(value, "")
    yield from find_mentioned("\n".join(words), environment)


def find_mentioned(text: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield values of variables with secret names that a shell or a bake file put into a text."""
    for name, value in environment.items():
        if len(value) >= _SHORTEST_VARIABLE and value in text:
            yield from [value] if is_secret_name(name) and name not in _OF_A_SHELL else ()


def _list_given(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """List the flags that name variables or files, with their values."""
    for flag in (_SECRET, _SSH, _ARGUMENT):
        yield from ((flag, value) for value in find_values(words, flag))
    for text in find_values(words, _SET):
        path, equals, value = text.partition("=")
        _, key, name = (*path.split(".", 2), "", "")[:3]
        flag = _KEYS.get(key.removesuffix("+"), "")
        if flag:
            yield flag, f"{name}{equals}{value}" if flag == _ARGUMENT else value


def _read_secret(
    specification: str, environment: Mapping[str, str], directory: Path
) -> Iterator[str]:
    pairs = (field.partition("=") for field in split_fields(specification))
    fields = {name.lower(): value for name, _, value in pairs}
    name, source = fields.get("env", ""), fields.get("src") or fields.get("source") or ""
    if fields.get("type") == "env" and not name:
        name, source = source, ""
    if not name and not source:
        own = fields.get("id", "")
        name, source = (own, "") if own in environment else ("", own)
    if name:
        yield environment.get(name, "")
    if source:
        yield _read_file(directory / source)


def _read_file(path: Path) -> str:
    """Read a small regular file; return an empty string for any other path."""
    # Docker reports the error itself.
    with suppress(OSError, ValueError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_FILE:
                return file.read(_LARGEST_FILE).decode(errors="surrogateescape")
    return ""


def _find_pairs(text: str, depth: int = _DEPTH) -> Iterator[str]:
    """Yield the values of secret names in a word: in a pair, or in the fields of an option text."""
    for field in dict.fromkeys((text, *split_fields(text))):
        name, equals, value = field.partition("=")
        if not equals or _names_secrets(name):
            continue
        if _is_secret(name):
            yield value
        elif depth:
            yield from _find_pairs(value, depth - 1)


def _is_secret(name: str) -> bool:
    """Whether a name is a secret's; for `--set`, the NAME of `TARGET.args.NAME`."""
    return is_secret_name(name.partition(".args.")[2] or name)


def _names_secrets(name: str) -> bool:
    """Whether a value refers to secrets but contains none: `--secret=`, `TARGET.secrets=`."""
    _, dot, key = name.removesuffix("+").rpartition(".")
    return name == _SECRET or (bool(dot) and key in _KEYS)


def _list_parts(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """Yield the secrets within a text: users of URLs, values of secret names."""
    for match in URL_USER.finditer(text):
        user = match["user"]
        yield from (user, unquote(user), user.partition(":")[2], unquote(user.partition(":")[2]))
    for match in pattern.finditer(text):
        if is_secret_name(match["name"]) and not _names_secrets(match["name"]):
            value = _VALUE.match(text, match.end())
            yield from filter(None, value.groups()) if value is not None else ()


def redact_argv(argv: Iterable[str], redactor: Redactor) -> tuple[str, ...]:
    """Return a command's arguments with known secrets and secret-looking pairs masked."""
    return tuple(
        redactor(word if previous == _SECRET else mask_options(word))
        for previous, word in pairwise(("", *argv))
    )


def mask_options(text: str, depth: int = _DEPTH) -> str:
    """Mask the values of secret names in a pair or an option text.

    >>> mask_options("TOKEN=a,b"), mask_options('type=s3,"token=a,b"')
    ('TOKEN=***', 'type=s3,token=***')
    """
    name, equals, value = text.partition("=")
    if equals and _names_secrets(name):
        return text
    if equals and _is_secret(name):
        return f"{name}={MASK}"
    if name.startswith("--") and depth:
        return f"{name}{equals}{mask_options(value, depth - 1)}"
    fields = split_fields(text)
    masked = [_mask_field(field, depth) for field in fields]
    return mask_url(text) if masked == fields else join_fields(masked)


def _mask_field(field: str, depth: int) -> str:
    name, equals, value = field.partition("=")
    if equals and _is_secret(name):
        return f"{name}={MASK}"
    is_pair = depth and "=" in value
    return f"{name}={mask_options(value, depth - 1)}" if is_pair else mask_url(field)
