"""The error of an engine that cannot be prepared or run."""


class EngineError(Exception):
    """An engine, registry, builder or image could not be provided."""

    def __init__(self, what: str, remedy: str, detail: str = "") -> None:
        """Say what happened, what to do about it, and what the failing program printed."""
        self.what = what
        self.remedy = remedy
        self.detail = detail
        text = f"{what}. {remedy}."
        super().__init__(f"{text}\n{detail.rstrip()}" if detail.strip() else text)
