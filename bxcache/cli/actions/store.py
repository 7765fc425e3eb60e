"""`bxcache store`: ls, du, collect, verify, repair, pack, unpack, adopt, rm."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from bxcache.backends.location import choose_location
from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.report_files import check_outside
from bxcache.config.quantities import format_size
from bxcache.console.store import (
    describe_collected,
    describe_usage,
    describe_verification,
    render_adopted,
    render_collected,
    render_packed,
    render_scopes,
    render_unpacked,
    render_usage,
    render_verification,
)
from bxcache.console.tables import render_document
from bxcache.errors import StoreError
from bxcache.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.backends.location import Location


_DASH = "-"


def _locate(folder: str | None, config_file: str | None, *, must_exist: bool = True) -> Location:
    location = choose_location(
        Path.cwd(),
        os.environ,
        chosen=Path(folder) if folder else None,
        file=Path(config_file) if config_file else None,
    )
    location.store.check()
    if must_exist and not location.store.exists():
        raise StoreError(
            f"there is no store at `{location.store.path}` yet",
            hint="`bxcache build` creates one; `--dir` names another",
        )
    return location


def _say(text: str, *, err: bool = False) -> None:
    say(text, find_job_log(), err=err)


def list_scopes(folder: str | None, config_file: str | None, *, as_json: bool) -> None:
    """List the scopes: size, age, last use, steps."""
    store = _locate(folder, config_file).store
    usage = store.usage()
    if as_json:
        click.echo(render_document(describe_usage(store, usage)))
    else:
        _say(render_scopes(usage))


def show_sizes(folder: str | None, config_file: str | None, *, as_json: bool) -> None:
    """Show the size of each scope, alone and shared with others."""
    location = _locate(folder, config_file)
    usage = location.store.usage()
    if as_json:
        click.echo(render_document(describe_usage(location.store, usage)))
    else:
        _say(render_usage(usage, location.limits))


def collect(  # noqa: PLR0913  # click gives each option by itself
    folder: str | None,
    config_file: str | None,
    *,
    max_size: int | None,
    max_age: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove unneeded blobs, unused scopes, and what exceeds the budget."""
    location = _locate(folder, config_file)
    limits = location.limits
    collected = location.store.collect(
        max_size=limits.max_size if max_size is None else max_size,
        max_age=limits.max_age if max_age is None else max_age,
        dry_run=dry_run,
    )
    for note in collected.notes:
        _say(f"note: {note}", err=True)
    if as_json:
        click.echo(render_document(describe_collected(collected, dry_run=dry_run)))
    else:
        _say(render_collected(collected, dry_run=dry_run))


def verify(folder: str | None, config_file: str | None, *, full: bool, as_json: bool) -> int:
    """Check the store for damage; return exit status 74 if there is any."""
    found = _locate(folder, config_file).store.verify(full=full)
    if as_json:
        click.echo(render_document(describe_verification(found)))
    else:
        _say(render_verification(found))
    return StoreError.exit_code if found.damages else 0


def repair(folder: str | None, config_file: str | None, *, full: bool) -> None:
    """Remove damaged blobs, so that builds miss there instead of failing."""
    notes = _locate(folder, config_file).store.repair(full=full)
    for note in notes:
        _say(note)
    if not notes:
        click.echo("nothing was broken")


def remove(folder: str | None, config_file: str | None, scopes: tuple[str, ...]) -> None:
    """Remove scopes, and the blobs that no other scope needs."""
    store = _locate(folder, config_file).store
    store.remove(*scopes)
    click.echo(f"removed {len(scopes)}, {format_size(store.collect().freed_bytes)} freed")


def pack(folder: str | None, config_file: str | None, file: str, scopes: tuple[str, ...]) -> None:
    """Write the store as one file; `-` is stdout. The same content gives the same bytes."""
    store = _locate(folder, config_file).store
    with _open_target(file) as target:
        packed = store.pack(target, scopes)
    size = None if file == _DASH else Path(file).stat().st_size
    _say(render_packed(packed, file, size), err=True)


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


def unpack(folder: str | None, config_file: str | None, file: str) -> None:
    """Add the scopes of a packed file to the store; `-` is stdin."""
    store = _locate(folder, config_file, must_exist=False).store
    if file == _DASH:
        unpacked = store.unpack(sys.stdin.buffer)
    else:
        with Path(file).open("rb") as source:
            unpacked = store.unpack(source)
    _say(render_unpacked(unpacked, store.path))


def adopt(folder: str) -> None:
    """Turn a cache that plain buildx exported into a store, in place."""
    _say(render_adopted(Store(folder).adopt(), folder))
