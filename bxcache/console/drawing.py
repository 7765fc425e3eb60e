"""The lines of a live view, drawn from the state of a build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome, Phase
from bxcache.config.quantities import format_count, format_seconds, format_size
from bxcache.console.phases import name_phase
from bxcache.console.tables import cut_text, show_plain, show_text

if TYPE_CHECKING:
    from bxcache.buildx.stream.names import Transfer
    from bxcache.console.board import Board, Movement, RunningStep, StageState

    Line = tuple[str, str]
    """The text of a line, and its style."""

_BAR = 20
_VERBS = {"pull": "fetching", "save": "saving", "push": "pushing", "send": "sending the context"}
_HIDDEN = [("", "")]
"""The line of a stage that never fits."""
_MARKS = {
    Outcome.REUSED: ("=", "cyan"),
    Outcome.EXECUTED: ("+", "green"),
    Outcome.FAILED: ("!", "red"),
}
_MOVING = {
    Phase.PULL: "pull",
    Phase.FETCH: "pull",
    Phase.CONTEXT: "send",
    Phase.SAVE: "save",
    Phase.PUSH: "push",
}
"""The transfers whose progress shows more of a phase than its time."""
_SHORTEST_WORK = 0.3
"""In seconds. Shorter work is not worth a line beside running steps."""


def draw_board(board: Board, now: float, width: int, room: int | None = None) -> list[list[Line]]:
    """Draw the lines of each stage and of other work; a stage without running steps has one line.

    The room is the maximum number of lines; stages above it are left blank, and running steps show
    as much of their output as fits.
    """
    begun = [stage for stage in board.stages.values() if stage.has_begun]
    names = min(max((len(stage.name) for stage in begun), default=0), max(12, width // 3))
    others = [*_draw_waiting(board), *_draw_works(board, now)]
    resting = sum(not stage.running for stage in begun)
    above = resting - room if room is not None else 0
    each = _share_room(board, room, resting + len(others))
    blocks = []
    for stage in begun:
        above -= not stage.running
        is_hidden = above >= 0 and not stage.running
        blocks.append(_HIDDEN if is_hidden else _draw_stage(stage, now, (names, width, each)))
    return [*blocks, *([line] for line in others)]


def _share_room(board: Board, room: int | None, taken: int) -> int:
    """The number of lines of output that each running step can show."""
    running = board.running
    if room is None or not running:
        return 1
    heads = sum(bool(stage.running) for stage in board.stages.values()) + running
    # The tally has a line, and the cursor.
    return max(1, (room - taken - heads - 3) // running)


def fit_lines(blocks: list[list[Line]], room: int) -> list[Line]:
    """Select as many lines as fit; finished stages at the top go first."""
    height, hidden = sum(map(len, blocks)), 0
    lines: list[Line] = []
    for block in blocks:
        if len(block) == 1 and height + bool(hidden) > max(1, room - 1):
            height -= 1
            hidden += 1
        else:
            lines += block
    if hidden:
        lines.insert(0, (f"… {format_count(hidden, 'stage')} above", "dim"))
    return lines[: max(1, room - 1)]


def _draw_stage(stage: StageState, now: float, room: tuple[int, int, int]) -> list[Line]:
    names, width, most = room
    found = [outcome for outcome in Outcome if stage.counts[outcome]]
    mark, color = _MARKS[found[-1]] if found else (" ", "")
    if stage.running:
        mark, color = ">", "yellow"
    name = cut_text(show_text(stage.name), names)
    head = f"{mark} {name:<{names}} {len(stage.outcomes):>3}/{len(stage.listed):<3}"
    lines = [(f"{head} {', '.join(f'{stage.counts[each]} {each}' for each in found)}", color)]
    for running in stage.running.values():
        lines += _draw_running(running, now, width, most)
    return lines


def _draw_running(running: RunningStep, now: float, width: int, most: int) -> list[Line]:
    took = format_seconds(max(0.0, now - running.since))
    # A line can be long; read only as much as fits.
    first = running.step.text[:width].partition("\n")[0]
    before = "" if running.before is None else f" (last {format_seconds(running.before)})"
    printed = (show_plain(line[: 4 * width])[:width] for line in [*running.lines][-most:])
    lines = ((f"            {line}", "dim") for line in printed)
    return [(f"  {took:>9}{before} {show_text(first)}", ""), *lines]


def _draw_waiting(board: Board) -> list[Line]:
    """Draw the stages that have not begun, in one line."""
    names = [show_text(each.name) for each in board.stages.values() if not each.has_begun]
    return [(f"  waiting: {', '.join(names)}", "dim")] if names else []


def _draw_works(board: Board, now: float) -> list[Line]:
    """Draw the transfers, and the other work beside the steps."""
    moving = {kind: each for kind, each in board.movements.items() if not each.is_done}
    lines = [(_draw_movement(kind, each, now), "blue") for kind, each in moving.items()]
    begun: dict[Phase, float] = {}
    for (phase, _, _), since in board.works.items():
        begun[phase] = min(since, begun.get(phase, since))
    for phase, since in begun.items():
        is_short = board.running and now - since < _SHORTEST_WORK
        if not is_short and _MOVING.get(phase) not in moving:
            took = format_seconds(max(0.0, now - since))
            lines.append((f"  {took:>9} {name_phase(phase)}", "blue"))
    return lines


def _draw_movement(kind: Transfer, movement: Movement, now: float) -> str:
    items = movement.items.values()
    current, total = sum(each.current for each in items), sum(each.total for each in items)
    count = format_count(len(items), "item" if kind == "send" else "layer")
    seconds = now - movement.since
    rate = f" {format_size(int(current / seconds))}/s" if current and seconds > 1 else ""
    if total:
        bar = "#" * round(_BAR * min(1.0, current / total))
        state = f"[{bar:-<{_BAR}}] {format_size(current)} of {format_size(total)}"
    else:
        size = f" {format_size(current)}" if current else ""
        state = f"({sum(each.done for each in items)} done){size}"
    return f"  {_VERBS[kind]} {count} {state}{rate}"


def draw_tally(board: Board, seconds: float) -> Line:
    """Draw the number of steps in each state, and the time."""
    counts = [f"{board.count(each)} {each}" for each in Outcome if board.count(each)]
    counts += [f"{board.running} running"] if board.running else []
    counts += [f"{board.waiting} waiting"] if board.waiting else []
    return f"{', '.join(counts) or 'preparing'}, {format_seconds(seconds)}", "bold"
