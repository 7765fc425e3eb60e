"""Trust in a build: which of its settings count, whose caches it may read, and whether it saves its
own.

An untrusted build works on files that a stranger wrote, including the config file. Of that file,
only harmless settings count. Flags and variables always count: they come from the person who runs
the build. Every command gets its configuration here, so that only settings that count reach it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.backends import DROPS
from bxcache.config.discovery import find_root
from bxcache.config.guard import guard_setup
from bxcache.config.loading import Setup, load_setup
from bxcache.config.models import Config
from bxcache.config.sources import Origin
from bxcache.config.wording import choose_words, name_option
from bxcache.place.place import CHECKOUT, FIELDS, read_place
from bxcache.place.providers import read_provider
from bxcache.place.scope import Kind, Owner
from bxcache.place.statement import Variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from bxcache.config.guard import Refusal
    from bxcache.config.models import Donor
    from bxcache.config.sources import Layer
    from bxcache.place.place import Place

_DETACHED = (
    "HEAD is detached, so the cache is saved to the scope of builds without a branch; "
    "`{}` names one"
)


class Trust(Struct, frozen=True):
    """What a build may do with caches, as decided from its place and its configuration.

    Attributes:
        reason: why it saves its cache, or why not.
        refused: settings of the config file that do not count.
        found: the place according to the CI system and git alone, without the configuration.
        denied: why it does not save its cache, in a few words; empty if it does.
    """

    place: Place
    writes: bool
    reason: str
    notes: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    found: Place | None = None
    denied: str = ""

    @property
    def is_guarded(self) -> bool:
        """Whether it matters who filled the builder's cache: others start from what is saved here.

        A laptop builds only for its owner.
        """
        return self.writes and self.place.trusted and self.place.is_ci

    @property
    def owner(self) -> Owner:
        """The owner of the cache that the build saves; no other branch reads an untrusted one's."""
        return find_owner(self.place)

    def list_owners(self, read: tuple[Donor, ...]) -> Iterator[tuple[Owner, str]]:
        """List whose caches the build may import, best first, with a description of each."""
        place = self.place
        branches: dict[Donor, tuple[str | None, str]] = {
            "branch": (None if place.trusted else place.branch, "the branch of the same name"),
            "base": (place.base, "the pull request's base branch"),
            "default": (place.default, "the default branch"),
        }
        found: dict[Owner, str] = {}
        for donor in read:
            if donor == "branch":
                found.setdefault(self.owner, _describe_own(place))
            branch, what = branches[donor]
            if branch is not None:
                found.setdefault(Owner.of_branch(branch), what)
        yield from found.items()


def find_owner(place: Place) -> Owner:
    """Return the owner of the caches of builds in a place."""
    tag = place.tag if place.branch is None else None
    if not place.trusted:
        known = (place.pull_request, place.branch, tag)
        # Escape `:`, which joins them.
        texts = [(each or "").replace("%", "%25").replace(":", "%3A") for each in known]
        return Owner(Kind.UNTRUSTED, ":".join(texts if tag is not None else texts[:-1]))
    return Owner.of_branch(place.branch) if tag is None else Owner(Kind.TAG, tag)


def _describe_own(place: Place) -> str:
    if not place.trusted:
        return "this build's own cache"
    if place.tag is not None and place.branch is None:
        return "the tag being built"
    return "the branch being built" if place.branch else "builds without a branch"


def open_setup(
    directory: Path,
    environment: Mapping[str, str],
    *,
    flags: Layer | None = None,
    file: Path | None = None,
    image: str | None = None,
) -> tuple[Setup, Trust]:
    """Load the settings that count, with `load_setup`, and decide what the build may do."""
    setup = load_setup(directory, environment, flags=flags, file=file, image=image)
    return decide_trust(read_place(environment, directory), setup, directory)


def open_defaults(directory: Path, environment: Mapping[str, str]) -> tuple[Setup, Trust]:
    """The defaults, as if nothing were configured, for who goes on where that is wrong."""
    root = find_root(directory) or directory
    setup = Setup(Config(), None, {}, root, directory, None, ())
    return decide_trust(read_place(environment, directory), setup, directory)


def load_guarded(
    directory: Path,
    environment: Mapping[str, str],
    *,
    flags: Layer | None = None,
    file: Path | None = None,
    image: str | None = None,
) -> Setup:
    """Load the settings that count, without asking git; for commands that need no branch."""
    setup = load_setup(directory, environment, flags=flags, file=file, image=image)
    _, statement = read_provider(Variables(environment))
    return _guard(setup, directory, trusted=statement.verdict.trusted)[0]


def decide_trust(found: Place, setup: Setup, directory: Path) -> tuple[Setup, Trust]:
    """Decide which settings count in a place, and what the build may do with caches."""
    setup, refused = _guard(setup, directory, trusted=found.trusted)
    place = _override(found, setup)
    write = setup.config.cache.write
    denied = _deny(write, place)
    missed = [each for each in refused if not denied or each.why != DROPS]
    notes = (*found.notes, *([explain_refused(missed)] if missed else ()))
    if not denied and place.provider == CHECKOUT and place.branch is None and place.tag is None:
        notes = (*notes, _DETACHED.format(name_option("branch")))
    reason = _explain(write, place, denied)
    return setup, Trust(place, not denied, reason, notes, refused, found, denied)


def describe_place(trust: Trust) -> list[tuple[str, Any, str]]:
    """List what is known of the place: each value with its key and source."""
    place = trust.place
    variables = ", ".join(place.consulted) or "no CI variable is set"
    limit = "; as far as the builder can, which a dry run of a build shows"
    return [
        ("place.provider", place.provider, variables),
        *((f"place.{each}", getattr(place, each), place.sources.get(each, "")) for each in FIELDS),
        ("place.trusted", place.trusted, place.reason),
        ("saves", trust.writes, f"{trust.reason}{limit if trust.writes else ''}"),
    ]


def _guard(setup: Setup, directory: Path, *, trusted: bool) -> tuple[Setup, tuple[Refusal, ...]]:
    """Drop settings of the file that do not count in an untrusted build.

    A file can remove trust, but never grant it.
    """
    declared = setup.config.place.trusted
    by_file = setup.source_of(("place", "trusted")).origin is Origin.FILE
    if declared is False or not (trusted or (declared and not by_file)):
        return guard_setup(setup, directory)
    return setup, ()


def explain_refused(refused: Iterable[Refusal]) -> str:
    """Explain that settings of the file do not count."""
    keys = ", ".join(map(str, refused))
    return (
        f"settings of the config file ignored, because the build is not trusted: {keys}; "
        f"use {choose_words('a flag', 'an argument')} or a variable instead; "
        "`bxcache config show` shows why"
    )


def _override(found: Place, setup: Setup) -> Place:
    values = {name: value for name, value in setup.config.place if value not in (None, "")}
    given = {name: str(setup.source_of(("place", name))) for name in values}
    sources = {**found.sources, **given}
    if values.keys() & {"branch", "tag"}:
        values = {"branch": None, "tag": None, **values}
    if "trusted" in values:
        values |= {"reason": f"set by {sources['trusted']}", "is_fork": False}
    return replace(found, **values, sources=sources)


def _deny(write: str, place: Place) -> str:
    """Why a build does not save its cache; empty if it does."""
    if write == "never":
        return '`cache.write = "never"`'
    if write == "always" or place.trusted:
        return ""
    return f"the build is not trusted, {place.reason}"


def _explain(write: str, place: Place, denied: str) -> str:
    if denied:
        return f"no cache is saved: {denied}{advise(place) if write != 'never' else ''}"
    if write == "always":
        return 'the cache is saved: `cache.write = "always"`'
    return f"the cache is saved: the build is trusted, {place.reason}"


def advise(place: Place) -> str:
    """What to set in the job, so that an untrusted build saves; nothing if a person has decided."""
    if "trusted" in place.sources:
        return ""
    if place.is_fork:
        return "; `BXCACHE_CACHE_WRITE=always` saves one that no branch reads"
    also = "" if place.branch or place.tag else ", and BXCACHE_PLACE_BRANCH to the branch"
    return f"; if the job builds no stranger's code, set BXCACHE_PLACE_TRUSTED=true in it{also}"
