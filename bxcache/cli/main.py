"""The entry point of `bxcache`, and the one place that turns an error into an exit status."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from bxcache.cli.commands import LazyGroup, add_commands, name_page
from bxcache.cli.streams import open_streams
from bxcache.config.wording import Speech, speaking
from bxcache.errors import EXIT_BUG, EXIT_INTERRUPTED, BxcacheError, GateError, StoreError
from bxcache.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.cli.streams import Sink

_EPILOG = """\b
Exit status: 0 done; docker's own for a failed build;
2 usage; 65 gate; 66 record; 69 docker or builder; 70 bug; 71 stopped; 72 git;
73 metadata file; 74 store; 75 cache, with strict; 76 registry; 78 configuration; 79 doctor;
130 Ctrl-C, SIGTERM or closed stdout.

"""


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{_EPILOG}{name_page('')}",
)
@click.version_option(__version__, prog_name="bxcache", message="%(prog)s %(version)s")
def cli() -> None:
    """Cache and restore every stage of a docker build."""


add_commands(cli)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    # Looking for pydantic's plugins takes 13 ms, and this program has none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Such a short process has no garbage worth collecting while it loads its modules.
    gc.disable()
    output = open_streams()
    handle_signals()
    status = judge_output(run(sys.argv[1:] if argv is None else argv), output)
    # Nor at its end, where the last collection would take 40 ms.
    gc.freeze()
    sys.exit(status)


def handle_signals() -> None:
    """Stop in good order on SIGTERM and SIGHUP, unless the caller ignores them, as nohup does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    with speaking(Speech.SHELL):
        return _run(argv)


def _run(argv: Sequence[str]) -> int:
    own, extra = split_extra(argv)
    try:
        status = cli.main(list(own), prog_name="bxcache", standalone_mode=False, obj=extra)
    except click.NoSuchOption as error:
        _name_similar(error).show()
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except GateError as error:
        # Each line is a gate.
        return _fail(*error.message.split("\n"), status=error.exit_status)
    except BxcacheError as error:
        return _fail(str(error), status=error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped; no cache is left half saved", err=True)
        return EXIT_INTERRUPTED
    except OSError as error:
        where = f": `{error.filename}`" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", status=StoreError.exit_status)
    except Exception:  # noqa: BLE001  # the last boundary: anything else is a bug
        from traceback import format_exc  # noqa: PLC0415  # only a bug needs it

        words = "this is a bug in bxcache; please report it with these lines"
        return _fail(f"{words}\n\n{format_exc()}", status=EXIT_BUG)
    return status if isinstance(status, int) else 0


def _name_similar(error: click.NoSuchOption) -> click.UsageError:
    """The error with the most similar option first: click lists them by name."""
    if not error.possibilities:
        return error
    similar = " or ".join(f"`{each}`" for each in error.possibilities)
    return click.UsageError(f"{error.message.rstrip('.')}; did you mean {similar}?", error.ctx)


def judge_output(status: int, output: Sink) -> int:
    """The exit status of a command, which takes failed writes to stdout into account."""
    sys.stdout.flush()
    trouble = output.trouble
    if status or trouble is None:
        return status
    if isinstance(trouble, BrokenPipeError):
        return EXIT_INTERRUPTED
    why = f"stdout cannot be written: {trouble.strerror or trouble}; everything else is done"
    return _fail(why, status=StoreError.exit_status)


def split_extra(argv: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The arguments before the first `--`, and those after it, which are docker's.

    >>> split_extra(["build", ".", "--", "--ulimit", "nofile=9"])
    (('build', '.'), ('--ulimit', 'nofile=9'))
    """
    words = tuple(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _fail(*messages: str, status: int) -> int:
    """Print errors without their secrets, and return the exit status."""
    from bxcache.buildx.secrets import find_mentioned, find_secrets  # noqa: PLC0415  # only here
    from bxcache.cli.job_log import say  # noqa: PLC0415  # the same
    from bxcache.redaction import Redactor  # noqa: PLC0415  # the same

    for each in messages:
        secrets = (*find_secrets(sys.argv, os.environ), *find_mentioned(each, os.environ))
        say(f"{click.style('error:', fg='red')} {Redactor(secrets)(each)}")
    return status
