"""Tests of image references."""

from __future__ import annotations

import pytest

from bxcache.config.reference import Reference


@pytest.mark.parametrize(
    ("text", "name", "tag"),
    [
        ("app", "app", None),
        ("team/app", "team/app", None),
        ("registry.example.com/team/app-cache", "registry.example.com/team/app-cache", None),
        ("127.0.0.1:5000/app", "127.0.0.1:5000/app", None),
        ("localhost:5000/a/b:main", "localhost:5000/a/b", "main"),
        ("[::1]:5000/app:v1.2_3-4", "[::1]:5000/app", "v1.2_3-4"),
        ("ghcr.io/o/r__x/y.z:T", "ghcr.io/o/r__x/y.z", "T"),
    ],
)
def test_a_reference_is_split_into_name_and_tag(text: str, name: str, tag: str | None) -> None:
    """A reference is split into name and tag; a host's port is not a tag."""
    assert Reference.parse(text) == Reference(name, tag)
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("team/ app", "it contains a space"),
        ("Team/App", "lower case"),
        ("https://example.com/app", "is a URL"),
        ("app@sha256:" + "0" * 64, "names a digest"),
        ("app:" + "t" * 129, "is not an image reference"),
        ("/app", "is not an image reference"),
        ("app:", "is not an image reference"),
        ("-app", "is not an image reference"),
        ("a//b", "is not an image reference"),
        ("app\n", "is not an image reference"),
    ],
)
def test_an_invalid_reference_is_refused(text: str, why: str) -> None:
    """An invalid reference is refused with the reason."""
    with pytest.raises(ValueError, match=why):
        Reference.parse(text)


@pytest.mark.parametrize(
    "text", ["me:hunter22@example.com/app", "https://me:hunter22@example.com/app"]
)
def test_a_password_in_a_reference_is_not_repeated(text: str) -> None:
    """A reference with a password is refused without repeating the password."""
    with pytest.raises(ValueError, match=r"docker login|is a URL") as caught:
        Reference.parse(text)
    assert "hunter22" not in str(caught.value)
