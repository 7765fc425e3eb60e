"""`bxcache predict`."""

from __future__ import annotations

from typing import Any

from bxcache.cli.actions.build import find_image_name
from bxcache.cli.actions.request import to_request
from bxcache.cli.job_log import show
from bxcache.console.prediction import render_prediction
from bxcache.pipeline.entry import predict_build


def predict(word: str | None, *, full: bool, **values: Any) -> None:  # noqa: ANN401  # click's options
    """Predict a build, and print its steps."""
    values, word = find_image_name(values, word)
    unused = {"reports": (), "trace": None, "log": None, "progress": "none", "quiet": False}
    found = predict_build(to_request({**unused, **values, "layers": False}, word))
    show(found.to_dict, lambda: render_prediction(found, full=full), as_json=values["as_json"])
