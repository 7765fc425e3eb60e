"""The actions of `bxcache store` and `bxcache key`; `cli/store.py` has their help."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click
from msgspec.structs import replace

from bxcache.backends.cache_key import make_cache_key
from bxcache.backends.location import choose_location, find_location, require_location
from bxcache.cli.files import check_outside
from bxcache.cli.job_log import say, show
from bxcache.config.discovery import find_root
from bxcache.config.paths import find_cache_folder
from bxcache.console import store as console
from bxcache.console.cache_key import IN_PROJECT, note_unknown, render_key
from bxcache.errors import StoreError
from bxcache.place.trust import open_setup
from bxcache.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.backends.location import Location
    from bxcache.store.collection import Collected


_DASH = "-"
_DECLARE = (
    "a job that keeps one as files needs the variable "
    f"`BXCACHE_CACHE_BACKENDS=type=local,dir={IN_PROJECT}`, or in the config file "
    f'`[[cache.backends]]` with `type = "local"` and `dir = "{IN_PROJECT}"`'
)


def _locate(folder: Path | None, config_file: Path | None, *, must_exist: bool = True) -> Location:
    location = choose_location(Path.cwd(), os.environ, chosen=folder, file=config_file)
    location.store.check()
    if must_exist and not location.store.exists():
        raise StoreError(
            f"there is no store at `{location.store.path}` yet",
            hint="`bxcache build` creates one; `--from` names another",
        )
    return location


def list_scopes(folder: Path | None, config_file: Path | None, *, as_json: bool) -> None:
    store = _locate(folder, config_file).store
    usage = store.usage()
    show(
        usage.to_dict,
        lambda: console.render_scopes(usage),
        as_json=as_json,
    )


def show_sizes(folder: Path | None, config_file: Path | None, *, as_json: bool) -> None:
    location = _locate(folder, config_file)
    usage = location.store.usage()
    show(
        usage.to_dict,
        lambda: console.render_usage(usage, location.limits),
        as_json=as_json,
    )


def prune(
    folder: Path | None,
    config_file: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
    **asked: int | None,
) -> None:
    location = _locate(folder, config_file)
    given = {name: limit for name, limit in asked.items() if limit is not None}
    limits = replace(location.limits, **given)
    _show_collected(
        location.store.collect(max_size=limits.max_size, max_age=limits.max_age, dry_run=dry_run),
        as_json=as_json,
    )


def _show_collected(collected: Collected, *, as_json: bool) -> None:
    for note in collected.notes:
        say(f"note: {note}")
    show(
        collected.to_dict,
        lambda: console.render_collected(collected),
        as_json=as_json,
    )


def verify(folder: Path | None, config_file: Path | None, *, full: bool, as_json: bool) -> int:
    """Check the store for damage; return exit status 74 if there is any."""
    found = _locate(folder, config_file).store.verify(full=full)
    show(
        found.to_dict,
        lambda: console.render_verification(found),
        as_json=as_json,
    )
    return StoreError.exit_status if found.damages else 0


def repair(
    folder: Path | None, config_file: Path | None, *, full: bool, dry_run: bool, as_json: bool
) -> None:
    store = _locate(folder, config_file).store
    found = console.list_damages(store.verify(full=full)) if dry_run else store.repair(full=full)
    show(
        lambda: {"dry_run": dry_run, "notes": found},
        lambda: "\n".join(found) or f"nothing {'is' if dry_run else 'was'} broken",
        as_json=as_json,
    )


def remove(
    folder: Path | None,
    config_file: Path | None,
    scopes: tuple[str, ...],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    store = _locate(folder, config_file).store
    removed = store.collect(unwanted=scopes, dry_run=dry_run)
    _show_collected(removed, as_json=as_json)


def pack(folder: Path | None, config_file: Path | None, file: str, scopes: tuple[str, ...]) -> None:
    store = _locate(folder, config_file).store
    with _open_target(file) as target:
        packed = store.pack(target, scopes)
    size = None if file == _DASH else Path(file).stat().st_size
    say(console.render_packed(packed, file, size))


@contextmanager
def _open_target(file: str) -> Iterator[BinaryIO]:
    """Open a file that appears only when it is complete."""
    if file == _DASH:
        if sys.stdout.isatty():
            raise click.UsageError("the archive would go to the terminal; name a file, or pipe it")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    check_outside([path])
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as target:
            yield target
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def unpack(folder: Path | None, config_file: Path | None, file: str, *, as_json: bool) -> None:
    store = _locate(folder, config_file, must_exist=False).store
    if file == "-" and sys.stdin is None:
        raise click.UsageError("`-` reads stdin, which is closed")
    with click.open_file(file, "rb") as source:
        unpacked = store.unpack(source)  # type: ignore[arg-type]  # it is binary
    show(
        unpacked.to_dict,
        lambda: console.render_unpacked(unpacked),
        as_json=as_json,
    )


def adopt(folder: str, *, as_json: bool) -> None:
    adopted = Store(folder).adopt()
    show(
        adopted.to_dict,
        lambda: console.render_adopted(adopted, folder),
        as_json=as_json,
    )


def print_key(
    folder: Path | None,
    config_file: Path | None,
    *,
    style: str,
    branch: str | None,
    image: str | None,
) -> None:
    here = Path.cwd()
    setup, trust = open_setup(here, os.environ, file=config_file, image=image)
    declared = find_location(setup)
    store = Store(here / folder) if folder else require_location(setup, _DECLARE).store
    place = trust.place
    if branch is not None:
        place = replace(place, branch=branch or None, tag=None, trusted=True)
    key = make_cache_key(setup, here, store.read_scopes(), place)
    top = find_root(here) or setup.root
    path: Path | None = _place(store.path, top)
    if folder is None and path and path.is_relative_to(find_cache_folder()):
        path = None
    files = {"--from": folder, "--config": config_file}
    given = {"--image": image}
    given |= {name: str(_place(here / file, top)) for name, file in files.items() if file}
    options = [word for name, value in given.items() if value for word in (name, value)]
    if note := note_unknown(key, style):
        say(f"note: {note}")
    is_declared = declared is not None and path == _place(declared.store.path, top)
    say(render_key(key, path, style, options, declared=is_declared), err=False)


def _place(path: Path, top: Path) -> Path:
    """The path from the top of the checkout, where a job is, if it is there."""
    whole = path.resolve()
    return whole.relative_to(top) if whole.is_relative_to(top) else whole
