"""What follows from where a build runs: whose caches it may read, and whether it saves its own.

A build that is not trusted works on files that a stranger wrote, the config file among them. What
that file says about trust does not count then; flags and variables do, since they come from who
runs the build.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bxcache.config.sources import Origin
from bxcache.scope import Kind, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.config.loading import Setup
    from bxcache.config.models import Donor
    from bxcache.config.sources import Source
    from bxcache.place.place import Place

_TABLE = "place"
_OF_TRUST = ("branch", "tag", "trusted")
"""The keys by which a build could pass for another one."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A build's place, with what the configuration says about it.

    Attributes:
        place: where it runs.
        writes: whether it saves its cache.
        reason: why it saves its cache, or why not.
        notes: what a person should know of it.
    """

    place: Place
    writes: bool
    reason: str
    notes: tuple[str, ...] = ()

    @property
    def is_guarded(self) -> bool:
        """Whether it matters who filled the builder's cache: others start from what is saved here.

        A person's own machine builds for that person.
        """
        return self.writes and self.place.trusted and self.place.is_ci

    @property
    def owner(self) -> Owner:
        """Whose cache the build saves.

        A cache that a build without trust saves, because it is told to, is none that another
        branch reads.
        """
        return find_owner(self.place)

    def list_owners(self, read: tuple[Donor, ...]) -> Iterator[tuple[Owner, str]]:
        """Whose caches the build may start from, best first, each with what it is to the build."""
        place = self.place
        found: dict[Donor, list[tuple[Owner, str]]] = {
            "branch": [(self.owner, _describe_own(place))],
            "base": [(Owner.of_branch(place.base), "the branch that the pull request goes to")],
            "default": [(Owner.of_branch(place.default), "the default branch")],
        }
        if not place.trusted and place.branch is not None:
            found["branch"].append((Owner.of_branch(place.branch), "the branch of the same name"))
        seen: set[Owner] = set()
        for donor in read:
            for owner, what in found[donor]:
                unknown = owner.kind is Kind.NONE and donor != "branch"
                if owner not in seen and not unknown:
                    seen.add(owner)
                    yield owner, what


def find_owner(place: Place) -> Owner:
    """Whose cache a build of a place is."""
    tag = place.tag if place.branch is None else None
    if not place.trusted:
        known = (place.pull_request, place.branch, tag)
        # A `:` joins them, so none of them has one.
        texts = [(each or "").replace("%", "%25").replace(":", "%3A") for each in known]
        return Owner(Kind.UNTRUSTED, ":".join(texts if tag is not None else texts[:-1]))
    return Owner.of_branch(place.branch) if tag is None else Owner(Kind.TAG, tag)


def _describe_own(place: Place) -> str:
    if not place.trusted:
        return "this build's own cache"
    if place.tag is not None and place.branch is None:
        return "the tag that is built"
    return "the branch that is built" if place.branch else "builds of no branch"


def settle_place(found: Place, setup: Setup) -> Placement:
    """The place as the configuration has it, and whether the build saves its cache."""
    given, notes = _choose_overrides(found, setup)
    place = _override(found, given)
    write = setup.config.cache.write
    by_file = setup.source_of(("cache", "write")).origin is Origin.FILE
    if write == "always" and by_file and not place.trusted:
        notes.append(_refuse("cache.write", setup.source_of(("cache", "write"))))
        write = "trusted"
    writes = write == "always" or (write == "trusted" and place.trusted)
    return Placement(place, writes, _explain(write, place), (*found.notes, *notes))


def describe_place(placement: Placement) -> list[tuple[str, Any, str]]:
    """What is known of the place, each value with its key and where it is from."""
    place = placement.place
    variables = ", ".join(place.consulted) or "no CI variable is set"
    shown = {
        "branch": place.branch,
        "tag": place.tag,
        "base": place.base,
        "default": place.default,
        "pull_request": place.pull_request,
    }
    rows: list[tuple[str, Any, str]] = [
        (f"{_TABLE}.{name}", value, place.sources.get(name, "")) for name, value in shown.items()
    ]
    return [
        (f"{_TABLE}.provider", place.provider, variables),
        *rows,
        (f"{_TABLE}.trusted", place.trusted, place.reason),
        ("saves", placement.writes, placement.reason),
    ]


def _choose_overrides(
    found: Place, setup: Setup
) -> tuple[dict[str, tuple[Any, Source]], list[str]]:
    given: dict[str, tuple[Any, Source]] = {}
    notes = []
    for name, value in setup.config.place:
        source = setup.source_of((_TABLE, name))
        if value is None or value == "":
            continue
        if not found.trusted and source.origin is Origin.FILE and name in _OF_TRUST:
            notes.append(_refuse(f"{_TABLE}.{name}", source))
        else:
            given[name] = value, source
    return given, notes


def _refuse(key: str, source: Source) -> str:
    return (
        f"`{key}` ({source}) does not count in a build that is not trusted, which could have "
        "changed that file; give it as a flag or a variable"
    )


def _override(found: Place, given: dict[str, tuple[Any, Source]]) -> Place:
    values = {name: value for name, (value, _) in given.items()}
    sources = {**found.sources, **{name: str(source) for name, (_, source) in given.items()}}
    if values.keys() & {"branch", "tag"}:
        values = {"branch": None, "tag": None, **values}
    if "trusted" in values:
        values["reason"] = f"{sources['trusted']} says so"
    return replace(found, **values, sources=sources)


def _explain(write: str, place: Place) -> str:
    if write == "never":
        return 'no cache is saved: `cache.write = "never"`'
    if write == "always":
        return 'the cache is saved: `cache.write = "always"`'
    if place.trusted:
        return f"the cache is saved: the build is trusted, {place.reason}"
    return f"no cache is saved: the build is not trusted, {place.reason}"
