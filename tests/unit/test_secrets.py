"""Tests that secrets in docker's arguments are found, in every form that docker accepts."""

from __future__ import annotations

import base64
import os
import random
import time
from pathlib import Path

import pytest

from bxcache.buildx.secrets import find_secrets, redact_argv
from bxcache.redaction import MASK, Redactor
from tests.support.secret_forms import FORMS, IN_URLS, NESTED, PLAIN, SECRET, WAYS, Way

ANY = ("build argument", "build argument, one word", "label", "bake's argument")
"""Forms that are not option text, and may contain anything."""
EVERY = [
    *(pytest.param(way, PLAIN, id=name) for name, way in {**WAYS, **IN_URLS}.items()),
    *(
        pytest.param(way, SECRET, id=f"{name}, odd")
        for name, way in WAYS.items()
        if way.variables or way.files or name in ANY
    ),
]


def read(way: Way, secret: str, folder: Path) -> tuple[list[str], Redactor]:
    """Return the words of a command, and its redactor."""
    for name, content in way.files.items():
        (folder / name).write_text(content.format(secret))
    variables = {name: value.format(secret) for name, value in way.variables.items()}
    words = [word.format(secret) for word in way.words]
    command = ["docker", "buildx", "build", "--push", *words, "."]
    return words, Redactor(find_secrets(command, variables, folder))


@pytest.mark.parametrize(("way", "secret"), EVERY)
def test_a_secret_is_masked_in_every_form(way: Way, secret: str, tmp_path: Path) -> None:
    """A secret is masked however docker reads it and a step prints it."""
    words, redact = read(way, secret, tmp_path)
    for name, encode in FORMS.items():
        assert redact(f"it is {encode(secret)}.").startswith(f"it is {MASK}"), name
    assert secret not in " ".join(redact_argv(words, redact))


@pytest.mark.parametrize("way", [each for each in WAYS.values() if not each.variables])
def test_short_secrets_are_masked_where_they_are_written(way: Way, tmp_path: Path) -> None:
    """A short secret, such as `PASS=1`, is masked where it is written, and not in a log."""
    words, redact = read(way, "zq", tmp_path)
    assert "zq" not in " ".join(redact_argv(words, redact)) or "--quiet" in words[-1]
    assert redact("zq is shown") == "zq is shown"


@pytest.mark.parametrize("way", [each for each in WAYS.values() if each.variables or each.files])
def test_the_name_of_a_secret_is_shown(way: Way, tmp_path: Path) -> None:
    """The name of a variable or a file is not masked."""
    words, redact = read(way, PLAIN, tmp_path)
    shown = redact_argv(words, redact)
    assert all(
        each in (word, word.replace(PLAIN, MASK)) for word, each in zip(words, shown, strict=True)
    )


@pytest.mark.parametrize("text", NESTED.values(), ids=NESTED)
def test_a_secret_within_a_secret_is_masked_by_itself(text: str, tmp_path: Path) -> None:
    """A password inside a secret file or variable is masked by itself."""
    (tmp_path / "f").write_text(text.format(PLAIN))
    by_file = find_secrets(["--secret", "id=a,src=f"], {}, tmp_path)
    by_variable = find_secrets(["--secret", "id=a,env=V"], {"V": text.format(PLAIN)})
    for found in (by_file, by_variable):
        assert Redactor(found)(f"{PLAIN} is it") == f"{MASK} is it"


@pytest.mark.parametrize("part", ["a=", "a=b,", '"', "--a=", "x.args.a=", "://a@", "a: ", "'"])
def test_no_argument_is_too_long_or_too_deep(part: str) -> None:
    """Any long or deep arguments are searched for secrets within seconds."""
    word = part * 5_000
    words = ["--build-arg", word, "--secret", word, "--set", word, "--cache-to", f"token={word}"]
    began = time.process_time()
    redact_argv(words, Redactor(find_secrets(words, {"NPM_TOKEN": word})))
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "SSH_AUTH_SOCK", "KEY_FILE"])
def test_a_common_variable_is_not_a_secret(name: str) -> None:
    """Common variables, such as paths, are not masked."""
    assert not any(find_secrets(["--file", "/home/me/app/Dockerfile"], {name: "/home/me/app"}))


def test_a_special_or_large_file_is_not_read(tmp_path: Path) -> None:
    """A pipe, a folder, a dangling link and a large file are not read."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_text("x" * (1 << 20))
    (tmp_path / "link").symlink_to("nowhere")
    names = ("pipe", "large", "link", ".", "\0")
    words = [word for name in names for word in ("--secret", f"id=a,src={name}")]
    assert not any(find_secrets(words, {}, tmp_path))


@pytest.mark.parametrize("width", [64, 76, 10_000])
@pytest.mark.parametrize("before", ["", "u", "u:"])
def test_a_long_secret_is_masked_in_base64(before: str, width: int) -> None:
    """The part of a line that begins a secret is masked, even across line breaks."""
    secret = "".join(random.Random(1).choices("abcdefghijklmnop", k=300))
    encoded = base64.b64encode(f"{before}{secret}\n".encode()).decode()
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    shown = Redactor([secret])("\n".join(lines)).replace(MASK, "")
    assert before or len(shown.replace("\n", "")) < 8
    assert width < 10_000 or len(shown) < 12
