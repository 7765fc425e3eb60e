"""A disk that is full: one clear error, and nothing is lost."""

from __future__ import annotations
