"""Secrets are replaced before any text leaves bxcache.

What counts as one: the value of a build argument or attribute whose name looks like a secret's,
and whatever stands before the `@` of a URL. A value found once is masked wherever it turns up
later: in a step's text, in a log line, in docker's own error.

What this cannot do: a secret that docker reads from a file by itself (`--secret src=`) is never
known here, one that a step prints in another encoding is not recognised, nor is the user part of a
URL that comes in two pieces.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MASK = "***"

_SECRET_NAME = re.compile(
    r"token|secret|passw|passphrase|credential|bearer|signature"
    r"|(?:^|[_-])(?:pw|pwd|pass|pat|auth|apikey|key)(?:$|[_-])|(?:api|access|private|account)key",
    re.IGNORECASE,
)
# The scheme is looked at last and not as a whole: a long text of letters would take forever.
_URL_USER = re.compile(r"://(?<=[A-Za-z0-9+.-]://)(?P<user>[^/?#\s@]+(?:@[^/?#\s@]+)*)@")
_SHORTEST_MASKED_ANYWHERE = 4
_PLAIN_WORDS = frozenset({"true", "false", "none", "null", "auto", "default", "basic", "bearer"})


def is_secret_name(name: str) -> bool:
    """Whether a value of this name should never be shown.

    >>> is_secret_name("NPM_TOKEN"), is_secret_name("secret_access_key"), is_secret_name("MONKEY")
    (True, True, False)
    """
    return _SECRET_NAME.search(name) is not None


def mask_url(text: str) -> str:
    """The text with the user part of each URL masked.

    >>> mask_url("https://me:pw@example.com/x")
    'https://***@example.com/x'
    """
    return _URL_USER.sub(f"://{MASK}@", text)


def mask_pair(pair: str) -> str:
    """A `NAME=value` text with the value masked where the name or the value asks for it."""
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals and is_secret_name(name) else mask_url(pair)


def find_secrets(arguments: Iterable[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Every value in a command's arguments that must not be shown.

    A build argument without a value takes it from the environment, as docker does.
    """
    previous = ""
    for argument in arguments:
        yield from _secrets_of(argument)
        if previous == "--build-arg" and "=" not in argument and is_secret_name(argument):
            yield environment.get(argument, "")
        if previous == "--secret":
            yield from _secret_variables(argument, environment)
        previous = argument


def _secret_variables(specification: str, environment: Mapping[str, str]) -> Iterator[str]:
    fields = dict(part.partition("=")[::2] for part in specification.split(","))
    name = fields.get("env") or ("" if {"src", "source"} & fields.keys() else fields.get("id", ""))
    if name:
        yield environment.get(name, "")


def _secrets_of(argument: str) -> Iterator[str]:
    for text in (argument, *argument.split(",")):
        name, equals, value = text.strip('"').removeprefix("--").partition("=")
        if equals and is_secret_name(name):
            yield value
        elif name == "build-arg" and equals:
            yield from _secrets_of(value)
    for match in _URL_USER.finditer(argument):
        user = match["user"]
        yield from (user, unquote(user), user.partition(":")[2], unquote(user.partition(":")[2]))


class Redactor:
    """Masks known secrets, and the user part of every URL, in a text.

    Attributes:
        longest: how many characters the longest of the secrets has.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        words = {line.strip() for secret in secrets for line in (secret, *secret.splitlines())}
        masked = sorted(filter(_is_worth_masking, words), key=len, reverse=True)
        self.longest = max(map(len, masked), default=0)
        self._pattern = re.compile("|".join(map(re.escape, masked))) if masked else None
        self._words = tuple(word.encode(errors="surrogateescape") for word in masked)

    def __call__(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return mask_url(text)

    def find_cut(self, data: bytes) -> int:
        """Where a text that goes on can be cut: before what may be the beginning of a secret.

        >>> Redactor(["hunter2"]).find_cut(b"it is hunt")
        6
        """
        cut = len(data) - max((_count_begun(data, word) for word in self._words), default=0)
        if cut == len(data):
            return cut
        # A secret that ends as one begins stays whole.
        found = re.finditer(b"|".join(map(re.escape, self._words)), data)
        return next((each.start() for each in found if each.start() < cut < each.end()), cut)


def _count_begun(data: bytes, word: bytes) -> int:
    # Most pieces end with a line, and words have no such end.
    if data[-1:] not in word:
        return 0
    most = min(len(data), len(word) - 1)
    return next((n for n in range(most, 0, -1) if data.endswith(word[:n])), 0)


def _is_worth_masking(word: str) -> bool:
    return len(word) >= _SHORTEST_MASKED_ANYWHERE and word.lower() not in _PLAIN_WORDS


def redact_argv(argv: Iterable[str], redactor: Redactor) -> tuple[str, ...]:
    """A command's arguments, fit to be shown: known secrets and secret-looking pairs masked."""
    return tuple(redactor(_mask_argument(argument)) for argument in argv)


def _mask_argument(argument: str) -> str:
    flag, equals, rest = argument.partition("=")
    if equals and flag.startswith("--"):
        return f"{flag}={_mask_argument(rest)}"
    if is_secret_name(flag):
        return mask_pair(argument)
    return ",".join(mask_pair(part) for part in argument.split(","))
