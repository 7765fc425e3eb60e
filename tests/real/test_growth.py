"""The work of a store for a build does not grow with its layers; the growth benchmark runs."""

from __future__ import annotations

from tests.benchmarks.growing.blobs import measure_blobs
from tests.benchmarks.growing.sizes import build_stored

MB = 10**6


def test_a_build_reads_copies_and_holds_no_layer() -> None:
    """With layers of 2 MB, a build moves as many bytes in the store as with layers of 20 kB."""
    [small] = build_stored(MB, 1)
    [large] = build_stored(100 * MB, 1)
    assert large.moved < small.moved + 0.1
    assert large.memory < small.memory + 1


def test_the_part_about_blobs_measures_each_size() -> None:
    """Commands, the work of a build, its bytes and its memory have a value for each size."""
    chapter = measure_blobs((10, 60), 1)
    assert len(chapter.curves) == 9
    for curve in chapter.curves:
        assert [size for size, value in curve.points if value > 0] == [10, 60]
