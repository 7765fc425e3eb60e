"""The states of a context's files, shortened to folders where there are too many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from bxcache.buildx.context.selection import hash_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDED = "* "
"""How the state of a folder begins whose files are not listed: a hash and their number follow."""


class _Folder(Struct):
    states: dict[str, str] = field(default_factory=dict)
    folders: dict[str, _Folder] = field(default_factory=dict)
    count: int = 0

    def add(self, path: str, state: str) -> None:
        folder, names = self, path.split("/")
        count = int(state.rpartition(" ")[2]) if state.startswith(FOLDED) else 1
        folder.count += count
        for name in names[:-1]:
            folder = folder.folders.setdefault(name, _Folder())
            folder.count += count
        folder.states[names[-1]] = state

    def fold(self) -> str:
        """Return the state of the folder as a whole."""
        below = {name: each.fold() for name, each in self.folders.items()}
        # What was folded before stays as it is.
        return f"{FOLDED}{hash_all({**self.states, **below})} {self.count}"

    @property
    def width(self) -> int:
        """How many entries it has itself."""
        return len(self.states) + len(self.folders)

    def list_files(self, above: str, most: int) -> Iterator[tuple[str, str]]:
        """List its files in at most so many lines, which are no fewer than its width."""
        yield from ((f"{above}{name}", state) for name, state in self.states.items())
        left = most - len(self.states)
        waiting = sorted(self.folders.items(), key=lambda each: each[1].count)
        for at, (name, folder) in enumerate(waiting):
            # Small folders leave more room for the others.
            share = left // (len(waiting) - at)
            if folder.width <= share:
                listed = [*folder.list_files(f"{above}{name}/", share)]
            else:
                listed = [(f"{above}{name}", folder.fold())]
            left -= len(listed)
            yield from listed


def fold_files(states: Mapping[str, str], most: int) -> dict[str, str]:
    """Replace folders by a hash until at most so many entries are left.

    A small folder is kept rather than a large one. If the context's own folder has too many files,
    its entry has the path `.`.
    """
    if len(states) <= most:
        return dict(sorted(states.items()))
    top = _Folder()
    for path, state in states.items():
        top.add(path, state)
    listed = dict(top.list_files("", most)) if top.width <= most else {".": top.fold()}
    return dict(sorted(listed.items()))


def fold_alike(states: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Fold the folders that another tree has folded, so that both can be compared."""
    folded = [path for path, state in other.items() if state.startswith(FOLDED)]
    kept = dict(states)
    for path in folded:
        inside = "" if path == "." else f"{path}/"
        below = {each: state for each, state in kept.items() if each.startswith(inside)}
        if not below or path in kept:
            continue
        top = _Folder()
        for each, state in below.items():
            del kept[each]
            top.add(each.removeprefix(inside), state)
        kept[path] = top.fold()
    return kept
