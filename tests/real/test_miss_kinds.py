"""Why steps were executed, in builds for several platforms and in bakes, and what recurs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.real.bakes import LOCAL, bake, declare, forget, make_shop
from tests.real.machines import Machine
from tests.real.rebuilds import rebuild, write_base

PLATFORMS = """\
FROM scratch AS tools
ARG TARGETARCH
COPY stamp /
COPY bin/$TARGETARCH /bin
FROM scratch
COPY --from=tools /bin /bin
COPY notes /notes
"""
LATE = """\
FROM base
COPY app /app
RUN pip install -r /app/requirements.txt
RUN echo "{moment}" > /when
"""


def list_causes(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """List the step, the platform and the name of each change."""
    return [
        (miss["text"], "".join(miss["platforms"]), each["name"])
        for miss in document["misses"]
        for each in miss["changes"]
    ]


def test_a_cause_on_one_platform_is_named_for_it_alone(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    for path in ("bin/amd64/tool", "bin/arm64/tool", "notes", "stamp"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(str(folder))
    (folder / "Dockerfile").write_text(PLATFORMS)
    platforms = ("--platform", "linux/amd64,linux/arm64")
    rebuild(machine, folder, *platforms)

    (folder / "bin" / "arm64" / "tool").write_text("new")
    one = rebuild(machine, folder, *platforms)
    copied = "COPY bin/arm64 /bin"
    assert list_causes(one) == [(copied, "linux/arm64", "bin/arm64/tool")]
    assert one["misses"][0]["later"] == 2

    (folder / "notes").write_text("new")
    both = rebuild(machine, folder, *platforms)
    assert sorted(list_causes(both)) == [
        ("COPY notes /notes", f"linux/{name}", "notes") for name in ("amd64", "arm64")
    ]


def test_each_target_of_a_bake_has_its_own_causes(machine: Machine, tmp_path: Path) -> None:
    shop = make_shop(tmp_path / "shop")
    declare(shop, LOCAL)
    bake(machine, shop)
    (shop / "worker.txt").write_text("new\n")
    built = bake(forget(machine, shop), shop)
    assert {name: list_causes(each) for name, each in built.items()} == {
        "api": [],
        "worker": [("COPY --link worker.txt /worker", "", "worker.txt")],
        "web": [],
    }


def test_what_recurs_is_worth_advice(machine: Machine, tmp_path: Path) -> None:
    """Packages below a COPY that changes, and a Dockerfile that a script writes."""
    folder = tmp_path / "app"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "requirements.txt").write_text("nothing\n")
    write_base(folder, LATE)
    text = (folder / "Dockerfile").read_text()
    # A tool of this name that takes its time.
    (folder / "pip").write_text("#!/bin/sh\nsleep 0.6\n")
    (folder / "pip").chmod(0o755)
    text = text.replace("FROM base\n", "FROM base\nCOPY pip /bin/pip\n")
    advice: list[dict[str, Any]] = []
    for number in range(1, 5):
        (folder / "app" / f"module{number}.py").write_text("")
        moment = f"2026-01-0{number}T00:00:00Z"
        (folder / "Dockerfile").write_text(text.replace("{moment}", moment))
        advice = rebuild(machine, folder)["advice"]
    (late,) = (each for each in advice if each["step"])
    assert (late["name"], late["files"]) == ("COPY app /app", ["requirements.txt"])
    assert late["step"] == "RUN pip install -r /app/requirements.txt"
    assert (late["times"], late["builds"]) == (3, 4)
