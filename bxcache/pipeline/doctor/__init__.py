"""Examine everything that a build here depends on; `diagnosis.py` is the way in."""
