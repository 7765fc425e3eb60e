"""The action of `bxcache init`; `cli/init.py` has its help."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bxcache.cli.files import open_destination
from bxcache.cli.job_log import say
from bxcache.config.discovery import find_config_file
from bxcache.config.loading import default_store
from bxcache.console.starter import files as starter
from bxcache.console.starter.systems import SYSTEMS
from bxcache.errors import ConfigError, Problem
from bxcache.oci.documents import INDEX_NAME
from bxcache.pipeline.survey import survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.pipeline.survey import Survey

_NONE = "none"
_REPOSITORY = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
"""https://github.com/distribution/reference/blob/v0.6.0/regexp.go, with a host and no tag."""
_PACKAGE = re.compile(r"[\w.~/][\w.~/+:@=-]*")


def write_files(
    system: str | None,
    repository: str | None,
    package: str | None,
    *,
    force: bool,
    dry_run: bool,
) -> None:
    root, found = survey(Path.cwd())
    asks = not dry_run and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    if asks:
        system = system or _ask_system(found)
        repository = repository or _ask_repository(found, system)
    _check_repository(system, repository)
    _check_package(system, package)
    written = starter.render_files(found, system, repository, package)
    for note in (*starter.list_notes(found, system, repository), *_note_package(root, package)):
        say(f"note: {note}")
    changed = _list_changed(root, written)
    for note in _note_store(root, written[starter.CONFIG]) if starter.CONFIG in changed else ():
        say(f"note: {note}")
    if dry_run:
        kept = {*starter.LISTS}.difference(changed)
        shown = {name: text for name, text in written.items() if name not in kept}
        say(starter.render_preview(shown), err=False)
        return
    if not force:
        _refuse_existing(root, changed)
    for path in (root / name for name in changed if (root / name).exists()):
        before, name = path.read_text("utf-8", "replace"), path.relative_to(root).as_posix()
        say(f"note: {starter.describe_replaced(name, before, system)}")
    if asks and changed:
        click.confirm(f"write {', '.join(changed)}?", default=True, abort=True, err=True)
    for name in changed:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with open_destination(root / name) as file:
            file.write(written[name])
    say(starter.render_done(changed), err=False)


def _ask_system(found: Survey) -> str | None:
    """Ask for the CI system; the default is the one that the repository already uses."""
    answer = click.prompt(
        "CI system",
        type=click.Choice((*SYSTEMS, _NONE)),
        default=next(iter(found.systems), _NONE),
        err=True,
    )
    return None if answer == _NONE else str(answer)


def _ask_repository(found: Survey, system: str | None) -> str | None:
    """Ask for the image's name in a registry, where the job needs one."""
    known = system and starter.name_repository(found, system)
    if not known:
        return None
    name, is_guess = known
    answer = str(click.prompt("The image's name in the registry", default=name, err=True))
    return None if is_guess and answer == name else answer


def _check_repository(system: str | None, repository: str | None) -> None:
    """Refuse an invalid name, and one in a registry to which the job does not log in."""
    if repository is None:
        return
    registry = SYSTEMS[system].registry if system else None
    if system is not None and registry is None:
        raise click.UsageError(
            f"the job of --ci {system} keeps its cache as files; leave --repository out"
        )
    if not _REPOSITORY.fullmatch(repository):
        known = registry or "registry.example.com"
        raise click.UsageError(f"`{repository}` is not a repository such as `{known}/acme/shop`")
    if system == "github" and not repository.startswith(f"{registry}/"):
        raise click.UsageError(f"the job logs in to {registry}; give --repository {registry}/…")


def _check_package(system: str | None, package: str | None) -> None:
    """Refuse a package without a job, or one that would need quotes there."""
    if package is not None and system is None:
        raise click.UsageError("--package needs --ci, whose job installs it")
    if package is not None and not _PACKAGE.fullmatch(package):
        raise click.UsageError(f"`{package}` is not a package's name, path or URL without spaces")


def _note_package(root: Path, package: str | None) -> Iterator[str]:
    """Note a file that the repository does not have yet; one outside of it may be the runner's."""
    if not package or "://" in package or package.startswith(("/", "~")):
        return
    is_path = "/" in package or package.endswith((".whl", ".tar.gz"))
    if is_path and not (root / package).exists():
        yield f"there is no `{package}` in the repository yet; the job installs bxcache from it"


def _note_store(root: Path, config: str) -> Iterator[str]:
    """Note the store of earlier builds without a config file, if the new one does not use it."""
    old, backends = default_store(root), tomllib.loads(config)["cache"]["backends"]
    is_used = any({"dir", "ref"}.isdisjoint(each) for each in backends)
    if is_used or not (old / INDEX_NAME).is_file():
        return
    folder = next((each["dir"] for each in backends if "dir" in each), None)
    is_free = folder is not None and not (root / folder).exists()
    how = f"`mv {shlex.quote(str(old))} {folder}` takes it along" if is_free else "it is left alone"
    yield f"`{starter.CONFIG}` does not use the store of builds until now, `{old}`; {how}"


def _list_changed(root: Path, written: Mapping[str, str]) -> tuple[str, ...]:
    """List the files to write; a note says what a list of ignored files lacks."""
    changed = []
    for name, text in written.items():
        path = root / name
        before = path.read_text("utf-8", "replace") if path.is_file() else None
        if before is None or (before != text and name not in starter.LISTS):
            changed.append(name)
        elif name in starter.LISTS and not {*text.splitlines()} <= {*before.splitlines()}:
            say(f"note: add `{text.strip()}` to `{name}`; the store is kept there")
    return tuple(changed)


def _refuse_existing(root: Path, changed: Iterable[str]) -> None:
    """Refuse to overwrite files, or to hide the settings of a `pyproject.toml`."""
    known = find_config_file(root)
    others = [known.path] if known and known.path.name != starter.CONFIG else []
    existing = [*others, *(root / name for name in changed if (root / name).exists())]
    if existing:
        problems = [Problem(str(path.relative_to(root)), "", "exists already") for path in existing]
        hint = (
            "`--dry-run` prints what would be written, for you to merge; `--force` replaces whole "
            "files; without `--ci`, only the config file is written"
        )
        raise ConfigError(problems, hint=hint, title="nothing is written")
