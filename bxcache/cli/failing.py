"""How an error is shown."""

from __future__ import annotations

import os
import sys
import traceback

import click

from bxcache.buildx.secrets import find_mentioned, find_secrets
from bxcache.cli.job_log import find_job_log, say
from bxcache.errors import EXIT_BUG
from bxcache.redaction import Redactor


def show_error(message: str, status: int) -> int:
    """Print an error without its secrets, and return the exit status."""
    secrets = (*find_secrets(sys.argv, os.environ), *find_mentioned(message, os.environ))
    say(f"{click.style('error:', fg='red')} {Redactor(secrets)(message)}", find_job_log())
    return status


def show_bug() -> int:
    """Print the exception that is being handled, and return the exit status."""
    return show_error(
        f"this is a bug in bxcache; please report it with these lines\n\n{traceback.format_exc()}",
        EXIT_BUG,
    )
