"""`bxcache store`: ls, du, collect, verify, repair, pack, unpack, adopt, rm."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from bxcache.cli.completion import complete_scopes
from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.options import CONFIG, JSON
from bxcache.cli.report_files import check_outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bxcache.backends.location import Location

_DIR = click.option(
    "--dir", "folder", metavar="DIR", help="The store. Default: that of the configuration."
)
_DASH = "-"


def _with_store(function: Callable[..., Any]) -> Callable[..., Any]:
    return _DIR(CONFIG(function))


def _locate(folder: str | None, config_file: str | None, *, must_exist: bool = True) -> Location:
    from bxcache.backends.location import choose_location  # noqa: PLC0415
    from bxcache.errors import StoreError  # noqa: PLC0415

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
            hint="`bxcache build` makes one; `--dir` names another",
        )
    return location


def _say(text: str, *, err: bool = False) -> None:
    say(text, find_job_log(), err=err)


@click.group("store", short_help="Look at, bound, mend and move the local store.")
def store_group() -> None:
    """Look at, bound, mend and move the local store."""


@store_group.command("ls")
@_with_store
@JSON
def ls_command(folder: str | None, config_file: str | None, *, as_json: bool) -> None:
    """List the scopes: size, age, last use, steps."""
    from bxcache.console.store import describe_usage, render_scopes  # noqa: PLC0415
    from bxcache.console.tables import render_document  # noqa: PLC0415

    store = _locate(folder, config_file).store
    usage = store.usage()
    if as_json:
        click.echo(render_document(describe_usage(store, usage)))
    else:
        _say(render_scopes(usage))


@store_group.command("du")
@_with_store
@JSON
def du_command(folder: str | None, config_file: str | None, *, as_json: bool) -> None:
    """Show what each scope takes, alone and together with others."""
    from bxcache.console.store import describe_usage, render_usage  # noqa: PLC0415
    from bxcache.console.tables import render_document  # noqa: PLC0415

    location = _locate(folder, config_file)
    usage = location.store.usage()
    if as_json:
        click.echo(render_document(describe_usage(location.store, usage)))
    else:
        _say(render_usage(usage, location.limits))


def _size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:  # noqa: ANN401
    return _quantity("parse_size", value)


def _age(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:  # noqa: ANN401
    return _quantity("parse_age", value)


def _quantity(parser: str, value: str | None) -> Any:  # noqa: ANN401
    from bxcache.config import quantities  # noqa: PLC0415

    if value is None:
        return None
    try:
        return getattr(quantities, parser)(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@store_group.command("collect")
@_with_store
@click.option("--max-size", callback=_size, metavar="SIZE", help="The most that it may hold.")
@click.option("--max-age", callback=_age, metavar="AGE", help="How long an unused scope is kept.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be dropped.")
@JSON
def collect_command(  # noqa: PLR0913  # click gives each option by itself
    folder: str | None,
    config_file: str | None,
    *,
    max_size: int | None,
    max_age: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Drop what no scope needs, what is unused for too long, and what is over the budget."""
    from bxcache.console.store import (  # noqa: PLC0415
        describe_collected,
        render_collected,
    )
    from bxcache.console.tables import render_document  # noqa: PLC0415

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


@store_group.command("verify")
@_with_store
@click.option("--full", is_flag=True, help="Read every blob and compare its digest.")
@JSON
def verify_command(
    folder: str | None, config_file: str | None, *, full: bool, as_json: bool
) -> int:
    """Look for what is broken; nothing is changed. Exit status 74 where something is."""
    from bxcache.console.store import (  # noqa: PLC0415
        describe_verification,
        render_verification,
    )
    from bxcache.console.tables import render_document  # noqa: PLC0415
    from bxcache.errors import StoreError  # noqa: PLC0415

    found = _locate(folder, config_file).store.verify(full=full)
    if as_json:
        click.echo(render_document(describe_verification(found)))
    else:
        _say(render_verification(found))
    return StoreError.exit_code if found.damages else 0


@store_group.command("repair")
@_with_store
@click.option("--full", is_flag=True, help="Read every blob and compare its digest.")
def repair_command(folder: str | None, config_file: str | None, *, full: bool) -> None:
    """Cut out what is broken, so that builds miss there instead of failing."""
    notes = _locate(folder, config_file).store.repair(full=full)
    for note in notes:
        _say(note)
    if not notes:
        click.echo("nothing was broken")


@store_group.command("rm")
@_with_store
@click.argument("scopes", nargs=-1, required=True, metavar="SCOPE…", shell_complete=complete_scopes)
def rm_command(folder: str | None, config_file: str | None, scopes: tuple[str, ...]) -> None:
    """Remove scopes; what no other scope needs goes with them."""
    from bxcache.config.quantities import format_size  # noqa: PLC0415

    store = _locate(folder, config_file).store
    store.remove(*scopes)
    click.echo(f"removed {len(scopes)}, {format_size(store.collect().freed_bytes)} freed")


@store_group.command("pack")
@_with_store
@click.argument("file", metavar="FILE.tar.zst")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="Only this one.")
def pack_command(
    folder: str | None, config_file: str | None, file: str, scopes: tuple[str, ...]
) -> None:
    """Write the store as one file; `-` is stdout. The same content gives the same bytes."""
    from bxcache.console.store import render_packed  # noqa: PLC0415

    store = _locate(folder, config_file).store
    with _open_target(file) as target:
        packed = store.pack(target, scopes)
    size = None if file == _DASH else Path(file).stat().st_size
    _say(render_packed(packed, file, size), err=True)


@contextmanager
def _open_target(file: str) -> Iterator[BinaryIO]:
    """A file that is whole or not there."""
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


@store_group.command("unpack")
@_with_store
@click.argument("file", metavar="FILE.tar.zst")
def unpack_command(folder: str | None, config_file: str | None, file: str) -> None:
    """Take the scopes of such a file into the store; `-` is stdin."""
    from bxcache.console.store import render_unpacked  # noqa: PLC0415

    store = _locate(folder, config_file, must_exist=False).store
    if file == _DASH:
        unpacked = store.unpack(sys.stdin.buffer)
    else:
        with Path(file).open("rb") as source:
            unpacked = store.unpack(source)
    _say(render_unpacked(unpacked, store.path))


@store_group.command("adopt")
@click.argument("folder", metavar="DIR")
def adopt_command(folder: str) -> None:
    """Make a store of a directory that plain buildx exported a cache to, in place."""
    from bxcache.console.store import render_adopted  # noqa: PLC0415
    from bxcache.store.store import Store  # noqa: PLC0415

    _say(render_adopted(Store(folder).adopt(), folder))
