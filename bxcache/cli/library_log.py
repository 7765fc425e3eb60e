"""The library's log messages on stderr."""

from __future__ import annotations

import logging

from bxcache.cli.job_log import find_job_log, say


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage(), find_job_log())


def print_library_log() -> None:
    """Print the library's log messages, such as what it is waiting for."""
    logger = logging.getLogger("bxcache")
    if not logger.handlers:
        logger.addHandler(_Printer())
