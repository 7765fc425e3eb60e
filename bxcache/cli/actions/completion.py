"""The action of `bxcache completion install`; `cli/completion.py` has its help."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from bxcache.cli.completion import SHELLS, VARIABLE, render_script
from bxcache.cli.files import open_destination
from bxcache.cli.job_log import say


def install(shell: str | None, *, dry_run: bool) -> None:
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        known = ", ".join(f"`{each}`" for each in SHELLS)
        raise click.UsageError(f"the user's shell is not known; name one of {known}")
    path, script = _find_place(name), f"{render_script(name)}\n"
    before = path.read_text(errors="replace") if path.exists() else ""
    if before and VARIABLE not in before:
        raise click.UsageError(f"`{path}` is not bxcache's; move it, or use the printed code")
    if before != script and not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_destination(path) as file:
            file.write(script)
    done = "up to date" if before == script else "would be written" if dry_run else "written"
    undo = f"to undo it: rm {shlex.quote(str(path))}"
    say(f"{done}: {path}\n{_name_rest(name, path)}\n{undo}", err=False)


def _find_place(shell: str) -> Path:
    """The file that a shell reads when it completes `bxcache` for the first time.

    https://github.com/scop/bash-completion#faq
    https://fishshell.com/docs/current/completions.html#where-to-put-completions
    https://zsh.sourceforge.io/Doc/Release/Completion-System.html#Autoloaded-files
    """
    data = _find_folder("XDG_DATA_HOME", ".local/share")
    if shell == "fish":
        return _find_folder("XDG_CONFIG_HOME", ".config") / "fish/completions/bxcache.fish"
    if shell == "zsh":
        return data / "zsh/site-functions/_bxcache"
    own = os.environ.get("BASH_COMPLETION_USER_DIR", "").partition(":")[0]
    return Path(own or data / "bash-completion") / "completions/bxcache"


def _find_folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default)


def _name_rest(shell: str, path: Path) -> str:
    """What the user has still to do."""
    if shell == "fish":
        return "to do: nothing; each new fish completes"
    if shell == "zsh":
        line = f"fpath=({shlex.quote(str(path.parent))} $fpath)"
        return (
            f"to do: put this line into ~/.zshrc, before `compinit`, and open a new zsh:\n  {line}"
        )
    return (
        "to do: open a new bash; one without the package bash-completion does not look there, and "
        'needs this line in ~/.bashrc:\n  eval "$(bxcache completion bash)"'
    )
