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
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
_SHORTEST_MASKED_ANYWHERE = 4
_SHORTEST_ENCODED, _SHORTEST_SLICE = 8, 8
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
        self.longest = max(map(len, masked), default=0)
        self._pattern = re.compile(_alternate(masked)) if masked else None
        self._words = tuple(word.encode(errors="surrogateescape") for word in masked)
        self._pattern_of_bytes = re.compile(b"|".join(map(re.escape, self._words)))

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
        found = self._pattern_of_bytes.finditer(data)
        return next((each.start() for each in found if each.start() < cut < each.end()), cut)


def _count_begun(data: bytes, word: bytes) -> int:
    # Most pieces end with a line, and words have no such end.
    last, end = data[-1:], min(len(data), len(word) - 1)
    while last and (at := word.rfind(last, 0, end)) >= 0:
        if data.endswith(word[: at + 1]):
            return at + 1
        end = at
    return 0


def _alternate(words: list[str], depth: int = _SHORTEST_MASKED_ANYWHERE - 1) -> str:
    """A pattern for any of the words, which have a common beginning once: there can be many."""
    if not depth or len(words) == 1:
        return "|".join(map(re.escape, words))
    groups = defaultdict[str, list[str]](list)
    for word in words:
        groups[word[0]].append(word[1:])
    parts = (f"{re.escape(head)}(?:{_alternate(each, depth - 1)})" for head, each in groups.items())
    return "|".join(parts)


def _list_forms(secret: str) -> Iterator[str]:
    """A secret as it may be printed: each of its lines, and all of it, in each encoding."""
    for line in {line.strip() for line in (secret, *secret.splitlines())}:
        if len(line) >= _SHORTEST_MASKED_ANYWHERE and line.lower() not in _PLAIN_WORDS:
            yield from _quote(line)
            yield from _encode(line)
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
        for width in _LINE_WIDTHS:
            for start in range(0, len(whole), width):
                piece = whole[start : start + width]
                if len(piece) >= _SHORTEST_SLICE:
                    yield from (piece, piece.replace("+", "-").replace("/", "_"))
