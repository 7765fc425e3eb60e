"""Why steps were executed: causes that need a Dockerfile of their own, and what recurs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.real.bakes import LOCAL, bake, declare, forget, make_shop
from tests.real.machines import Machine
from tests.real.rebuilds import STORE, name_store, rebuild, write_base, write_files
from tests.real.stages import Shelf
from tests.support.websites import serve_files

# No step is the same on both platforms: BuildKit merges those, and then misses now and then.
PLATFORMS = """\
FROM scratch AS tools
ARG TARGETARCH
COPY bin/$TARGETARCH /bin
FROM scratch
COPY --from=tools /bin /bin
COPY notes /notes
"""
OTHER_PLATFORM = """\
FROM --platform=linux/arm64 {base} AS tools
COPY stamp /
RUN touch /made
FROM scratch
COPY --from=tools /made /made
"""
SECRET = """\
FROM base
RUN --mount=type=secret,id=token cat /run/secrets/token > /seen
COPY notes /notes
"""
BULKY = """\
FROM base AS small
COPY notes /notes
FROM base AS big
RUN head -c 3000000 /dev/urandom > /data
FROM base
COPY --from=small /notes /notes
COPY --from=big /data /data
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
    for path in ("bin/amd64/tool", "bin/arm64/tool", "notes"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(str(folder / path))
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


def test_another_platform_is_the_cause(machine: Machine, tmp_path: Path, shelf: Shelf) -> None:
    """A `RUN` depends on the platform of its stage; a `COPY` does not."""
    folder, base = tmp_path / "app", f"{shelf.ref}:base"
    folder.mkdir()
    write_base(folder, "")
    output = f"type=image,name={base},push=true,registry.insecure=true"
    both = ("--platform", "linux/amd64,linux/arm64")
    machine.raw(*both, "--output", output, ".", folder=folder)
    text = OTHER_PLATFORM.format(base=base)
    (folder / "Dockerfile").write_text(text)
    rebuild(machine, folder)
    (folder / "Dockerfile").write_text(text.replace("arm64", "amd64"))
    (miss,) = rebuild(machine, folder)["misses"]
    assert [each["cause"] for each in miss["changes"]] == ["platform"]
    assert miss["text"].startswith("RUN")


def test_a_remote_file_that_changed_is_the_cause(machine: Machine, tmp_path: Path) -> None:
    folder, website = tmp_path / "app", tmp_path / "website"
    for each in (folder, website):
        each.mkdir()
    with serve_files(website) as address:
        write_base(folder, f"FROM base\nADD {address}/tool /tool\nRUN cat /tool > /copy\n")
        (website / "tool").write_text("one")
        rebuild(machine, folder)
        assert rebuild(machine, folder)["misses"] == []
        (website / "tool").write_text("two")
        (miss,) = rebuild(machine, folder)["misses"]
    (change,) = miss["changes"]
    assert (change["cause"], change["name"]) == ("remote", f"{address}/tool")
    assert miss["later"] == 1


def test_a_cache_without_a_record_is_said_to_have_none(machine: Machine, tmp_path: Path) -> None:
    """What plain buildx wrote is imported, although nothing is known of the build."""
    folder = tmp_path / "app"
    folder.mkdir()
    write_files(folder, ("notes",))
    write_base(folder, "FROM base\nCOPY notes /notes\n")
    cache = f"type=local,dest={tmp_path / STORE},tag=image.linux-amd64.no-branch,mode=max"
    machine.raw("--cache-to", cache, "--output", "type=cacheonly", ".", folder=folder)
    machine.run("store", "adopt", str(tmp_path / STORE), folder=folder)
    (folder / "notes").write_text("new")
    document = rebuild(machine, folder)
    assert document["counts"] == {"reused": 3, "executed": 1, "failed": 0}
    (miss,) = document["misses"]
    assert [each["cause"] for each in miss["changes"]] == ["unknown-donor"]


def test_another_secret_is_no_cause(machine: Machine, tmp_path: Path) -> None:
    """BuildKit does not compare secrets: a step that has another one is reused."""
    folder, token = tmp_path / "app", tmp_path / "token"
    folder.mkdir()
    write_files(folder, ("notes",))
    write_base(folder, SECRET)
    token.write_text("one")
    words = ("--secret", f"id=token,src={token}")
    rebuild(machine, folder, *words)
    token.write_text("two")
    (folder / "notes").write_text("new")
    document = rebuild(machine, folder, *words)
    assert list_causes(document) == [("COPY notes /notes", "", "notes")]
    assert document["counts"]["executed"] == 1


def test_a_layer_without_room_in_the_store_is_the_cause(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    write_files(folder, ("notes",))
    write_base(folder, BULKY)
    backend, store = name_store(folder)
    words = (backend, f"{store},max_size=2MB")
    rebuild(machine, folder, *words)
    (folder / "notes").write_text("new")
    document = rebuild(machine, folder, *words)
    assert [(miss["text"], miss["changes"][0]["cause"]) for miss in document["misses"]] == [
        ("COPY notes /notes", "content"),
        ("RUN head -c 3000000 /dev/urandom > /data", "evicted"),
    ]


def test_an_image_with_its_cache_has_no_record(
    machine: Machine, tmp_path: Path, shelf: Shelf
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    write_files(folder, ("notes",))
    write_base(folder, BULKY)
    words = ("--backend", f"type=inline,ref={shelf.ref}", "--tag", shelf.ref, "--push")
    machine.build(*words, folder=folder)
    machine.docker("buildx", "prune", "--all", "--force", folder=folder)
    (folder / "notes").write_text("new")
    (miss,) = machine.build(*words, folder=folder)["misses"]
    assert [each["cause"] for each in miss["changes"]] == ["unknown-donor"]
