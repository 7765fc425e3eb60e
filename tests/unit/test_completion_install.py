"""Tests of `bxcache completion install`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from bxcache.cli.main import run

PLACES = [
    # https://github.com/scop/bash-completion#faq
    ("bash", {}, "home/.local/share/bash-completion/completions/bxcache"),
    ("bash", {"XDG_DATA_HOME": "data"}, "data/bash-completion/completions/bxcache"),
    ("bash", {"BASH_COMPLETION_USER_DIR": "own:b"}, "own/completions/bxcache"),
    # https://fishshell.com/docs/current/completions.html#where-to-put-completions
    ("fish", {}, "home/.config/fish/completions/bxcache.fish"),
    ("fish", {"XDG_CONFIG_HOME": "config"}, "config/fish/completions/bxcache.fish"),
    ("zsh", {}, "home/.local/share/zsh/site-functions/_bxcache"),
    ("zsh", {"XDG_DATA_HOME": "data"}, "data/zsh/site-functions/_bxcache"),
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user an empty home, and no other folders."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "home")
    # Click asks bash for its version, which is a process.
    monkeypatch.setattr(BashComplete, "_check_version", staticmethod(lambda: None))
    return tmp_path


def list_files(folder: Path) -> list[str]:
    return [str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()]


@pytest.mark.parametrize(("shell", "variables", "place"), PLACES)
def test_the_code_is_where_the_shell_looks_for_it(
    home: Path,
    shell: str,
    variables: dict[str, str],
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The printed code of the user's shell is written to its place, and the removal is named."""
    assert run(["completion", shell]) == 0
    code = capsys.readouterr().out
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run(["completion", "install", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith(f"would be written: {place}\n")
    assert list_files(home) == []
    assert run(["completion", "install"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert (first, last) == (f"written: {place}", f"to undo it: rm {place}")
    assert list_files(home) == [place]
    assert (home / place).read_text() == code
    assert run(["completion", "install", shell]) == 0
    assert capsys.readouterr().out.startswith(f"up to date: {place}\n")


def test_older_code_is_replaced_and_other_files_stay(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code of another version is replaced; a file that is not bxcache's, or a link, stays."""
    path = home / "home/.config/fish/completions/bxcache.fish"
    path.parent.mkdir(parents=True)
    path.write_text("env _BXCACHE_COMPLETE=old bxcache\n")
    assert run(["completion", "install", "fish"]) == 0
    whole = path.read_text()
    assert "fish_complete" in whole
    path.write_text("complete -c bxcache\n")
    assert run(["completion", "install", "fish"]) == 2
    assert "is not bxcache's" in capsys.readouterr().err
    assert path.read_text() == "complete -c bxcache\n"
    other = home / "other"
    other.write_text("_BXCACHE_COMPLETE\n")
    path.unlink()
    path.symlink_to(other)
    assert run(["completion", "install", "fish"]) == 74
    assert other.read_text() == "_BXCACHE_COMPLETE\n"


@pytest.mark.parametrize("shell", ["/bin/tcsh", ""])
def test_an_unknown_shell_is_an_error(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the user's shell is not known, the error lists those that are."""
    monkeypatch.setenv("SHELL", shell)
    assert run(["completion", "install"]) == 2
    assert "name one of `bash`, `zsh`, `fish`" in capsys.readouterr().err
