"""What the library logs, printed as everything else that is said."""

from __future__ import annotations

import logging

from bxcache.cli.job_log import find_job_log, say


class _Said(logging.Handler):
    """What the library logs, as everything else that is said."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage(), find_job_log())


def hear_library() -> None:
    """Print what the library logs, such as what it waits for."""
    logger = logging.getLogger("bxcache")
    if not logger.handlers:
        logger.addHandler(_Said())
