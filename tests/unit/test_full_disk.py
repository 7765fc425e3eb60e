"""A disk that is full: one clear error, and nothing is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bxcache.store.store import Store
from tests.unit.cuts import How, Ran, read_entries, read_needed, run_cut
from tests.unit.layouts import blobs_of, build
from tests.unit.operations import OPERATIONS, check_clean, check_usable

