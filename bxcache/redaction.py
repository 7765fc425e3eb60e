"""Secrets are replaced before any text leaves bxcache.

A known secret is masked wherever it occurs: in a step's text, in a log line, in docker's own error.
The part before the `@` of a URL is masked as well. Secrets are recognised in the encodings that
programs commonly print: base64, percent-encoding, JSON, and Go's `%q`, which docker uses.

Other encodings, such as hex or compression, are not recognised, nor is a secret in pieces.
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
"""Words before `key` without a separator: `monkey` and `publickey` do not match."""
_SECRET_NAME = re.compile(
    # Anywhere.
    r"token(?!i[sz])|secret|passw|passphrase|credential|bearer|signature|authorization|jwt|webhook"
    r"|conn(?:ection)?[_-]?str(?:ing)?(?![a-z])|npmrc|netrc|pypirc|dockerc(?:onfigjson|fg)"
    r"|kubeconfig"
    # At the end of a word, except words such as `compass` and `bypass`.
    r"|(?:pword|pwd|(?<!com)(?<!by)(?<!tres)(?<!sur)(?<!over)(?<!under)(?<!multi)pass|auth"
    rf"|{_KEYS})(?![a-z])"
    # A word of its own.
    r"|(?<![a-z])(?:pw|pat|key|sas|sig|dsn)(?![a-z])"
    # The last word: `SESSION_TIMEOUT` is a time.
    r"|(?<![a-z])(?:cookies?|session)$",
    re.IGNORECASE,
)
"""The names that BuildKit warns about, and more: masking too much costs little.
https://docs.docker.com/reference/build-checks/secrets-used-in-arg-or-env/"""
_VAGUE = re.compile("key|sas|sig|pat|dsn|cookies?|session|signature", re.IGNORECASE)
_HARMLESS_NAME = re.compile(r"(?<![a-z])(?:public|file|version)(?![a-z])", re.IGNORECASE)
"""Words that make a name harmless; BuildKit's rule has the same three:
https://github.com/moby/buildkit/blob/v0.32.2/frontend/dockerfile/dockerfile2llb/validations.go"""
# A lookbehind checks only the scheme's end: matching it whole takes forever on a long text.
URL_USER = re.compile(r"://(?<=[A-Za-z0-9+.-]://)(?P<user>[^/?#\s@]+(?:@[^/?#\s@]+)*)@")
"""A URL's user part."""
_HEAD = 4
"""The minimum length of a secret that is masked everywhere, in characters."""
_SHORTEST_ENCODED, _MOST_ENCODED = 8, 8
"""The minimum length of a text masked in base64, and the maximum number of its lines."""
_PLAIN_WORDS = frozenset({"true", "false", "none", "null", "auto", "default", "basic", "bearer"})
_LINE_WIDTHS = (76, 64)
"""How `base64` and `openssl` break lines."""
_LEFT_ALONE = ("", "/", "!~*'()", "$&+=:@")
"""What percent-encoding leaves unchanged besides letters and digits: by default, in Python, in
JavaScript, and in Go's paths."""
_GO_ESCAPES = {
    sign: rf"\{letter}" for sign, letter in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)
}


def is_secret_name(name: str) -> bool:
    """Whether values with this name must never be shown.

    >>> is_secret_name("NPM_TOKEN"), is_secret_name("sshkey"), is_secret_name("MONKEY")
    (True, True, False)
    >>> is_secret_name("PUBLIC_KEY")
    False
    """
    return _SECRET_NAME.search(name) is not None and _HARMLESS_NAME.search(name) is None


def is_vague_name(name: str) -> bool:
    """Whether a secret name is one only by words that have other meanings, too.

    >>> is_vague_name("CACHE_KEY"), is_vague_name("API_KEY"), is_vague_name("KEY_PASSWORD")
    (True, False, False)
    """
    return all(_VAGUE.fullmatch(each.group()) for each in _SECRET_NAME.finditer(name))


def mask_url(text: str) -> str:
    """The text with the user part of each URL masked.

    >>> mask_url("https://me:pw@example.com/x")
    'https://***@example.com/x'
    """
    return URL_USER.sub(f"://{MASK}@", text)


class Redactor:
    """Masks known secrets, up to `longest` characters, and the user part of every URL."""

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
        """Where to cut a text that continues: before a possible beginning of a secret.

        >>> Redactor(["hunter2"]).find_cut(b"it is hunt")
        6
        """
        # Most pieces end with a line break, which no secret contains.
        if data[-1:] == b"" or data[-1] not in self._bytes:
            return len(data)
        cut = self._data.find_begun(data, max(0, len(data) - self._most))
        if cut is None:
            ends = range(min(_HEAD - 1, len(data)), 0, -1)
            short = (end for end in ends if data[-end:] in self._beginnings)
            cut = len(data) - next(short, 0)
        if cut == len(data):
            return cut
        # Never cut inside a whole secret.
        return next((start for start, end in self._data.find_all(data) if start < cut < end), cut)


class _Finder(Generic[AnyStr]):
    """Finds words in texts by their first characters, since there can be thousands."""

    def __init__(self, words: Iterable[AnyStr], heads: re.Pattern[AnyStr]) -> None:
        """Take the words, longest first, and a pattern for their first characters."""
        self._heads: re.Pattern[AnyStr] = heads
        self._words: dict[AnyStr, list[AnyStr]] = defaultdict(list)
        for word in words:
            self._words[word[:_HEAD]].append(word)

    def find_all(self, text: AnyStr) -> Iterator[tuple[int, int]]:
        """The start and end of each word found, in order."""
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
        """Where, from a position on, a word begins that continues past the end; None if nowhere."""
        while self._words and (found := self._heads.search(text, at)):
            start: int = found.start()
            rest = text[start:]
            if any(len(w) > len(rest) and w.startswith(rest) for w in self._words[found[0]]):
                return start
            at = start + 1
        return None


def _join_heads(words: Iterable[str]) -> str:
    return _alternate(sorted({word[:_HEAD] for word in words}))


def _alternate(words: Sequence[str]) -> str:
    """A pattern for words of one length, with common prefixes merged."""
    groups = defaultdict[str, list[str]](list)
    for word in words:
        groups[word[:1]].append(word[1:])
    parts = (
        f"{re.escape(head)}(?:{_alternate(rest)})" if rest[0] else re.escape(head)
        for head, rest in groups.items()
    )
    return "|".join(parts)


def _list_forms(secret: str) -> Iterator[str]:
    """The forms in which a secret may be printed: each line and the whole, in each encoding."""
    lines = {line.strip() for line in (secret, *secret.splitlines())}
    for line in lines:
        if len(line) >= _HEAD and line.lower() not in _PLAIN_WORDS:
            yield from _quote(line)
            # The lines of a key are base64 already.
            yield from _encode(line) if len(lines) <= _MOST_ENCODED else ()
    yield from _encode(secret)


def _quote(text: str) -> Iterator[str]:
    yield text
    data = text.encode(errors="surrogateescape")
    for quoted in (quote_plus(data), *(quote(data, safe) for safe in _LEFT_ALONE)):
        yield from (quoted, re.sub("%..", lambda found: found[0].lower(), quoted))
    for ascii_only in (True, False):
        plain = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        # Go and PHP also escape for HTML.
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
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004  # a byte that is not UTF-8
        return rf"\x{code - 0xDC00:02x}"
    return rf"\u{code:04x}" if code <= 0xFFFF else rf"\U{code:08x}"  # noqa: PLR2004


def _encode(text: str) -> Iterator[str]:
    """A text in base64, at each offset that it can have in the encoded data."""
    data = text.encode(errors="surrogateescape")
    if len(data) < _SHORTEST_ENCODED:
        return
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        # Only the characters (six bits each) that hold bits of the text alone.
        whole = encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
        in_url = whole.replace("+", "-").replace("/", "_")
        yield from _cut(whole, _LINE_WIDTHS[0])
        yield from _cut(in_url, _LINE_WIDTHS[0])
        if not before:
            yield from _cut(whole, _LINE_WIDTHS[1])


def _cut(text: str, width: int) -> Iterator[str]:
    pieces = (text[start : start + width] for start in range(0, len(text), width))
    return (piece for piece in pieces if len(piece) >= _SHORTEST_ENCODED)
