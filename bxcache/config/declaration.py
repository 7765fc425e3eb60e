"""What every part of the configuration has in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Declaration(BaseModel):
    """A part of the configuration: frozen and strictly typed; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    misplaced: ClassVar[dict[str, str]] = {}
    """Keys that people write here by mistake, each with the correction."""
