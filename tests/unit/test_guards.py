"""Tests of the guards of the unit tests themselves."""

from __future__ import annotations

import subprocess

import pytest


def test_no_process_can_be_started() -> None:
    """A unit test that starts a process fails."""
    with pytest.raises(AssertionError, match="tried to start a process"):
        subprocess.run(["true"], check=False)
