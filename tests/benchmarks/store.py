"""Measures a local store: `python3 -m tests.benchmarks store [PART…]`. Without a part, all.

growth   50 commits of an application, against plain buildx and a fresh export
scale    `prune`, `du` and `ls` with 100,000 blobs in 2,000 scopes, against `find`
commit   the work of a build before and after docker, against the same links made by hand
record   the time to record a build, against its commit, and the size of the record
history  `bxcache history` with 2,000 scopes, against `store ls` and against starting up
verify   `verify --full` of 2 GB, against `sha256sum` on all cores
pack     `pack` of 1 GB, against `tar | zstd`

Run this on request, on a machine that does nothing else. Everything that is compared is measured
in the same run, alternately.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.benchmarks.commit_times import measure_commits
from tests.benchmarks.figures import (
    BXCACHE,
    Figures,
    Finding,
    alternate,
    conclude,
    divide,
    measure,
    measure_memory,
    measure_pipe,
)
from tests.benchmarks.history_times import measure_history
from tests.benchmarks.record_times import measure_records
from tests.benchmarks.store_growth import COMMITS, measure_growth
from tests.benchmarks.synthetic_store import (
    TAR_TYPE,
    MakeLayer,
    Synthetic,
    make_deep_store,
    make_gzip,
    make_noise,
    make_text,
    make_wide_store,
)
from tests.quickstart import QuickstartError, guard, say
from tests.support.layouts import LAYER_TYPE

ROUNDS = 7
SCOPES, BLOBS = 2_000, 100_000
EVICTIONS = (0.9, 0.8, 0.7)
VERIFIED, PACKED = 2_000_000_000, 1_000_000_000
MOST_SCAN = 3.0
MOST_MEMORY = 200.0
LEAST_HASHING = 0.8
MOST_PACKING = 1.0
FREE = 6_000_000_000
ENVIRONMENT = dict(os.environ)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for one store, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="bxcache-store-") as name:
        free = shutil.disk_usage(name).free
        if free < FREE:
            raise QuickstartError(
                f"{FREE / 1e9:.0f} GB are needed in `{name}`, and {free / 1e9:.1f} are free; "
                "TMPDIR names another place"
            )
        yield Path(name)


def measure_scale(rounds: int) -> list[Finding]:
    """Compare commands that look at the whole store with a program that does only that."""
    say(f"making a store of {BLOBS:,} blobs in {SCOPES:,} scopes")
    with scratch() as folder:
        made = make_wide_store(folder / "store", SCOPES, BLOBS)
        files = ["find", "store", "-type", "f", "-printf", r"%s\n"]
        names = ("prune", "du", "ls")
        commands = [files, *([*BXCACHE, "store", name, "--from", "store"] for name in names)]
        say(f"looking at all of it ({rounds} rounds)")
        found, *own = alternate(
            [partial(measure, command, folder, ENVIRONMENT) for command in commands], rounds
        )
        scans = [
            judge_scan(name, seconds, found, folder)
            for name, seconds in zip(names, own, strict=True)
        ]
        return [*scans, *evict(made, folder)]


def judge_scan(name: str, own: Sequence[float], found: Sequence[float], folder: Path) -> Finding:
    """Judge one command against `find`, and its memory."""
    memory = measure_memory(("store", name, "--from", "store"), folder, ENVIRONMENT)
    times = divide("    times that", own, found)
    figures = (
        Figures(f"scale: store {name}", own),
        Figures("    find -type f -printf '%s\\n'", found),
        times,
        Figures("    most memory", [memory], "MB"),
    )
    text = f"at most {MOST_SCAN:.0f} times, under {MOST_MEMORY:.0f} MB"
    return Finding(figures, text, times.median <= MOST_SCAN and memory < MOST_MEMORY)


def evict(made: Synthetic, folder: Path) -> Iterator[Finding]:
    """Collect a store over its budget, several times in a row."""
    say("evicting a tenth, three times")
    words = ("store", "prune", "--from", "store", "--max-size")
    sizes = [str(int(made.bytes * part)) for part in EVICTIONS]
    memory = measure_memory((*words, sizes[0], "--dry-run"), folder, ENVIRONMENT)
    seconds = [measure([*BXCACHE, *words, size], folder, ENVIRONMENT) for size in sizes]
    figures = (
        Figures("scale: store prune that evicts a tenth", seconds),
        Figures("    most memory", [memory], "MB"),
    )
    yield Finding(figures, f"of {made.bytes / 1e6:.0f} MB in {made.scopes:,} scopes")


def measure_verify(rounds: int) -> list[Finding]:
    """Compare reading and hashing everything with a program that does only that."""
    say(f"making a store of {VERIFIED / 1e9:.0f} GB")
    with scratch() as folder:
        made = make_deep_store(folder / "store", VERIFIED, make_noise)
        say(f"hashing it ({rounds} rounds)")
        files = ["find", "store/blobs", "-type", "f", "-print0"]
        cores = ["xargs", "-0", f"-P{os.cpu_count()}", "-n", "16"]
        programs = [["sha256sum"]]
        if shutil.which("openssl"):
            # openssl uses the processor's own instructions, if there are any; sha256sum may not.
            programs.append(["openssl", "dgst", "-sha256"])
        command = [*BXCACHE, "store", "verify", "--full", "--from", "store"]
        own, *others = alternate(
            [
                partial(measure, command, folder, ENVIRONMENT),
                *(
                    partial(measure_pipe, files, [*cores, *program], folder, ENVIRONMENT)
                    for program in programs
                ),
            ],
            rounds,
        )
    figures = [Figures("verify: store verify --full", own)]
    for program, other in zip(programs, others, strict=True):
        figures.append(Figures(f"    find | xargs -P {' '.join(program)}", other))
        figures.append(divide("    times as fast, round by round", other, own))
    text = f"at least {LEAST_HASHING} times as fast as sha256sum; "
    text += f"{made.blobs} blobs, {made.bytes / 1e9:.2f} GB"
    return [Finding(tuple(figures), text, figures[2].median >= LEAST_HASHING)]


def measure_packing(rounds: int) -> list[Finding]:
    """Compare packing a store into one file with the usual two programs."""
    missing = [name for name in ("tar", "zstd") if not shutil.which(name)]
    if missing:
        return [Finding((), f"pack: LEFT OUT, since there is no `{'` and no `'.join(missing)}`")]
    return [
        compare_packing("gzip layers", make_gzip, LAYER_TYPE, rounds),
        compare_packing("plain layers", make_text, TAR_TYPE, rounds),
    ]


def compare_packing(name: str, make: MakeLayer, kind: str, rounds: int) -> Finding:
    """Pack a store with layers of one kind."""
    say(f"making a store of {PACKED / 1e9:.0f} GB, {name}")
    with scratch() as folder:
        made = make_deep_store(folder / "store", PACKED, make, kind)
        say(f"packing it ({rounds} rounds)")
        files = (folder / "own.tar.zst", folder / "other.tar.zst")
        command = [*BXCACHE, "store", "pack", "--from", "store", str(files[0])]
        tar = ["tar", "c", "store"]
        zstd = ["zstd", "-T0", "-q", "-f", "-o", str(files[1])]
        own, other = alternate(
            [
                lambda: afresh(files[0], partial(measure, command, folder, ENVIRONMENT)),
                lambda: afresh(files[1], partial(measure_pipe, tar, zstd, folder, ENVIRONMENT)),
            ],
            rounds,
        )
        sizes = [file.stat().st_size / 1e6 for file in files]
    times = divide("    times that, round by round", own, other)
    figures = (
        Figures(f"pack: store pack, {name}", own),
        Figures("    tar c | zstd -T0", other),
        times,
    )
    text = (
        f"no slower; {made.blobs} blobs, {made.bytes / 1e6:.0f} MB, "
        f"packed {sizes[0]:.0f} MB against {sizes[1]:.0f} MB"
    )
    return Finding(figures, text, times.median <= MOST_PACKING)


def afresh(file: Path, action: Callable[[], float]) -> float:
    """Make a new file, after the data of the run before is on the disk."""
    file.unlink(missing_ok=True)
    os.sync()
    return action()


def run(parts: Sequence[str], rounds: int, commits: int) -> int:
    """Measure some parts and print the table."""
    every: dict[str, Callable[[], list[Finding]]] = {
        # Milliseconds come first: a disk that is still busy with other data would affect them.
        "commit": measure_commits,
        "record": measure_records,
        "history": measure_history,
        "growth": partial(measure_growth, commits),
        "scale": partial(measure_scale, rounds),
        "verify": partial(measure_verify, rounds),
        "pack": partial(measure_packing, rounds),
    }
    return conclude(finding for part in parts or every for finding in every[part]())


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        "python3 -m tests.benchmarks store",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = ("commit", "record", "history", "growth", "scale", "verify", "pack")
    # With `choices`, none at all would be refused: https://github.com/python/cpython/issues/53834
    parser.add_argument("parts", nargs="*", metavar="PART", help="; ".join(parts))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of scale, verify and pack")
    parser.add_argument("--commits", type=int, default=COMMITS, help="of growth")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.parts) - set(parts))
    if unknown:
        parser.error(f"there is no part `{unknown[0]}`, only {', '.join(parts)}")
    return guard("the benchmark", lambda: run(options.parts, options.rounds, options.commits))
