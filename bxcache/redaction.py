"""Secrets are replaced before any text leaves bxcache.

A secret that is known is masked wherever it turns up: in a step's text, in a log line, in docker's
own error. So is whatever stands before the `@` of a URL. It is known in the encodings that programs
print it in by themselves: base64, percent-encoding, JSON, and Go's `%q`, in which docker quotes.

What this cannot do: recognise a secret in another encoding, such as hex or compressed, or one that
comes in pieces, such as the user part of a URL of which only the name was given.
"""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, AnyStr, Generic
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MASK = "***"

_KEYS = (
    r"(?:access|account|admin|api|app|auth|client|consumer|crypt|decryption|deploy|encrypt"
    r"|encryption|gpg|hmac|host|license|master|pgp|private|root|rsa|secret|server|service|session"
    r"|shared|signing|ssh|storage|user)[_-]?keys?"
)
"""Keys that are no word of their own: `monkey` and `publickey` have none of these before them."""
_SECRET_NAME = re.compile(
    # Anywhere.
    r"token(?!i[sz])|secret|passw|passphrase|credential|bearer|signature|authorization|jwt|webhook"
    r"|conn(?:ection)?[_-]?str(?:ing)?(?![a-z])|npmrc|netrc|pypirc|dockerc(?:onfigjson|fg)"
    r"|kubeconfig"
    # At the end of a word; the others that end so are no secrets.
    r"|(?:pword|pwd|(?<!com)(?<!by)(?<!tres)(?<!sur)(?<!over)(?<!under)(?<!multi)pass|auth"
    rf"|{_KEYS})(?![a-z])"
    # A word of its own.
    r"|(?<![a-z])(?:pw|pat|key|sas|sig|dsn)(?![a-z])"
    # The last word: `SESSION_TIMEOUT` is a time.
    r"|(?<![a-z])(?:cookies?|session)$",
    re.IGNORECASE,
)
"""The names that BuildKit warns of, and more, since what is masked in vain costs little.
https://docs.docker.com/reference/build-checks/secrets-used-in-arg-or-env/"""
_HARMLESS_NAME = re.compile(r"(?<![a-z])(?:public|file|version)(?![a-z])", re.IGNORECASE)
"""What makes a name that of something else; BuildKit's rule has the same three words:
https://github.com/moby/buildkit/blob/v0.32.2/frontend/dockerfile/dockerfile2llb/validations.go"""
# The scheme is looked at last and not as a whole: a long text of letters would take forever.
URL_USER = re.compile(r"://(?<=[A-Za-z0-9+.-]://)(?P<user>[^/?#\s@]+(?:@[^/?#\s@]+)*)@")
"""A URL's user part."""
_HEAD = 4
"""How long a secret is at least that is masked anywhere, in characters."""
_SHORTEST_ENCODED, _MOST_ENCODED = 8, 8
"""How long a text is at least that is masked in base64, and how many lines of one are."""
_PLAIN_WORDS = frozenset({"true", "false", "none", "null", "auto", "default", "basic", "bearer"})
_LINE_WIDTHS = (76, 64)
"""How `base64` and `openssl` break lines."""
_LEFT_ALONE = ("", "/", "!~*'()", "$&+=:@")
"""What percent-encoding leaves as it is, beside letters and digits: by default, in Python, in
JavaScript, and in a path of Go's."""
_GO_ESCAPES = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}


def is_secret_name(name: str) -> bool:
    """Whether a value of this name should never be shown.

    >>> is_secret_name("NPM_TOKEN"), is_secret_name("sshkey"), is_secret_name("MONKEY")
    (True, True, False)
    >>> is_secret_name("PUBLIC_KEY")
    False
    """
    return _SECRET_NAME.search(name) is not None and _HARMLESS_NAME.search(name) is None


def mask_url(text: str) -> str:
    """The text with the user part of each URL masked.

    >>> mask_url("https://me:pw@example.com/x")
    'https://***@example.com/x'
    """
    return URL_USER.sub(f"://{MASK}@", text)


class Redactor:
    """Masks known secrets, and the user part of every URL, in a text.

    Attributes:
        longest: how many characters the longest of the secrets has.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        words = {form for secret in secrets for form in _list_forms(secret)}
        masked = sorted(words, key=len, reverse=True)
        data = [word.encode(errors="surrogateescape") for word in masked]
        self.longest = max(map(len, masked), default=0)
        self._text = _Finder(masked, re.compile(_join_heads(masked)))
        heads = _join_heads(word.decode("latin-1") for word in data)
        self._data = _Finder(data, re.compile(heads.encode("latin-1")))
        self._most = max(map(len, data), default=0)
        self._bytes = frozenset(b"".join(data))
        self._beginnings = {word[:end] for word in data for end in range(1, _HEAD)}

    def __call__(self, text: str) -> str:
        pieces, end = [], 0
        for start, next_end in self._text.find_all(text):
            pieces += [text[end:start], MASK]
            end = next_end
        return mask_url("".join([*pieces, text[end:]]) if pieces else text)

    def find_cut(self, data: bytes) -> int:
        """Where a text that goes on can be cut: before what may be the beginning of a secret.

        >>> Redactor(["hunter2"]).find_cut(b"it is hunt")
        6
        """
        # Most pieces end with a line, and words have no such end.
        if data[-1:] == b"" or data[-1] not in self._bytes:
            return len(data)
        cut = self._data.find_begun(data, max(0, len(data) - self._most))
        if cut is None:
            ends = range(min(_HEAD - 1, len(data)), 0, -1)
            short = (end for end in ends if data[-end:] in self._beginnings)
            cut = len(data) - next(short, 0)
        if cut == len(data):
            return cut
        # A secret that ends as one begins stays whole.
        return next((start for start, end in self._data.find_all(data) if start < cut < end), cut)


class _Finder(Generic[AnyStr]):
    """Finds words in texts: there can be thousands, so it looks for how they begin."""

    def __init__(self, words: Iterable[AnyStr], heads: re.Pattern[AnyStr]) -> None:
        """Take the words, the longest first, and a pattern for how one of them begins."""
        self._heads: re.Pattern[AnyStr] = heads
        self._words: dict[AnyStr, list[AnyStr]] = defaultdict(list)
        for word in words:
            self._words[word[:_HEAD]].append(word)

    def find_all(self, text: AnyStr) -> Iterator[tuple[int, int]]:
        """Where words begin and end, one after the other."""
        at = 0
        while self._words and (found := self._heads.search(text, at)):
            start = found.start()
            words = self._words[found[0]]
            ends = (start + len(word) for word in words if text.startswith(word, start))
            at = next(ends, 0)
            if at:
                yield start, at
            else:
                at = start + 1

    def find_begun(self, text: AnyStr, at: int) -> int | None:
        """Where, behind a position, a word begins that the text ends within; None if nowhere."""
        while self._words and (found := self._heads.search(text, at)):
            start: int = found.start()
            rest = text[start:]
            if any(len(w) > len(rest) and w.startswith(rest) for w in self._words[found[0]]):
                return start
            at = start + 1
        return None


def _join_heads(words: Iterable[str]) -> str:
    """A pattern for how any of the words begins."""
    return _alternate(sorted({word[:_HEAD] for word in words}))


def _alternate(words: Sequence[str]) -> str:
    """A pattern for words of one length, in which what they begin with stands once."""
    groups = defaultdict[str, list[str]](list)
    for word in words:
        groups[word[:1]].append(word[1:])
    parts = (
        f"{re.escape(head)}(?:{_alternate(rest)})" if rest[0] else re.escape(head)
        for head, rest in groups.items()
    )
    return "|".join(parts)


def _list_forms(secret: str) -> Iterator[str]:
    """A secret as it may be printed: each of its lines, and all of it, in each encoding."""
    lines = {line.strip() for line in (secret, *secret.splitlines())}
    for line in lines:
        if len(line) >= _HEAD and line.lower() not in _PLAIN_WORDS:
            yield from _quote(line)
            # Those of a key are in base64 themselves.
            yield from _encode(line) if len(lines) <= _MOST_ENCODED else ()
    yield from _encode(secret)


def _quote(text: str) -> Iterator[str]:
    yield text
    data = text.encode(errors="surrogateescape")
    for quoted in (quote_plus(data), *(quote(data, safe) for safe in _LEFT_ALONE)):
        yield from (quoted, re.sub("%..", lambda found: found[0].lower(), quoted))
    for ascii_only in (True, False):
        plain = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        # Go's has a page in mind, and so has PHP's.
        in_page = re.sub("[<>&]", lambda found: rf"\u{ord(found[0]):04x}", plain)
        yield from (plain, plain.replace("/", r"\/"), in_page)
    yield "".join(map(_quote_in_go, text))


def _quote_in_go(character: str) -> str:
    # https://pkg.go.dev/strconv#Quote
    code = ord(character)
    if character in _GO_ESCAPES or character.isprintable():
        return _GO_ESCAPES.get(character, character)
    if code < ord(" ") or code == 0x7F:  # noqa: PLR2004  # DEL
        return rf"\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004  # a byte that is no UTF-8
        return rf"\x{code - 0xDC00:02x}"
    return rf"\u{code:04x}" if code <= 0xFFFF else rf"\U{code:08x}"  # noqa: PLR2004


def _encode(text: str) -> Iterator[str]:
    """A text in base64, wherever it stands in what is encoded."""
    data = text.encode(errors="surrogateescape")
    if len(data) < _SHORTEST_ENCODED:
        return
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        # The characters that have bits of nothing else; each has six.
        whole = encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
        in_url = whole.replace("+", "-").replace("/", "_")
        yield from _cut(whole, _LINE_WIDTHS[0])
        yield from _cut(in_url, _LINE_WIDTHS[0])
        if not before:
            yield from _cut(whole, _LINE_WIDTHS[1])


def _cut(text: str, width: int) -> Iterator[str]:
    pieces = (text[start : start + width] for start in range(0, len(text), width))
    return (piece for piece in pieces if len(piece) >= _SHORTEST_ENCODED)
