"""Recorded environments of CI providers, what they leave in files, and a git that is none."""
