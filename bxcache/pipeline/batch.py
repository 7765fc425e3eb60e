"""Build several images of one repository in parallel, each with its own cache."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from bxcache.backends.declared import list_backends
from bxcache.buildx.command import list_destinations
from bxcache.buildx.extra_flags import find_values
from bxcache.buildx.stream.events import Event
from bxcache.config.loading import explain_unknown
from bxcache.config.reference import Reference
from bxcache.errors import BxcacheError, ConfigError, Problem, ResultError, StoppedError
from bxcache.pipeline.destinations import FILES, check_build, name_flag
from bxcache.pipeline.entry import run_build
from bxcache.pipeline.ledger import Ledger
from bxcache.pipeline.result import ImageOutcome, Outcomes
from bxcache.place.trust import load_guarded
from bxcache.process import Stop, open_pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bxcache.config.loading import Setup
    from bxcache.pipeline.request import BuildRequest

MOST_AT_ONCE = 4
"""How many images are built at once by default."""
ImageObserver = Callable[[str, Event], None]
"""A callback for the events of several builds, each with its image's name; the name is
empty for an event of all builds."""


def choose_images(request: BuildRequest, names: Sequence[str]) -> tuple[str, ...]:
    """Choose the named images, or all declared ones; raise a `ConfigError` for an unknown one."""
    setup = load_guarded(request.directory, os.environ, file=request.config_file)
    known = tuple(setup.config.images)
    source = str(setup.file.path) if setup.file is not None else "no config file"
    problems = [
        Problem(source, "images", f"`{name}` {explain_unknown(name, known)}")
        for name in dict.fromkeys(names)
        if name not in known
    ]
    twice = (name for name, count in Counter(names).items() if count > 1)
    problems += [Problem(source, "images", f"`{name}` is given twice") for name in twice]
    if not known and not names:
        problems.append(Problem(source, "images", "no image is declared"))
    if problems:
        raise ConfigError(problems, title="wrong names of images" if names else "")
    return tuple(names) or known


def check_batch(request: BuildRequest, names: Sequence[str]) -> None:
    """Raise a ConfigError if two of these images would write to the same place."""
    _check_destinations(_load_setups(request, names), request)


def build_batch(
    request: BuildRequest,
    names: Sequence[str],
    observe: ImageObserver | None = None,
    *,
    jobs: int = MOST_AT_ONCE,
    fail_fast: bool = False,
) -> Outcomes:
    """Build several images, from `choose_images`, in parallel.

    A failed build stops the others only with `fail_fast`. A ConfigError means that nothing was
    built: the configuration is wrong, or two images would write to the same place.
    """
    check_batch(request, names)
    stop = request.stop or Stop()
    request = replace(request, stop=stop, ledger=Ledger())

    def build(name: str) -> ImageOutcome:
        if stop.is_set:
            return ImageOutcome(name, error=StoppedError(f"{stop.why} before it began"))
        outcome = _build(request, name, observe)
        if fail_fast and outcome.error is not None:
            stop.set()
        return outcome

    with open_pool(stop, jobs) as pool:
        return Outcomes(zip(names, pool.map(build, names), strict=True))


def _build(request: BuildRequest, name: str, observe: ImageObserver | None) -> ImageOutcome:
    report = partial(observe, name) if observe is not None else None
    try:
        return ImageOutcome(name, run_build(replace(request, image=name, began=None), report))
    except BxcacheError as error:
        result: Any = error.result if isinstance(error, ResultError) else None
        return ImageOutcome(name, result, error)


def _load_setups(request: BuildRequest, names: Sequence[str]) -> dict[str, Setup]:
    """Load the configuration of each image; raise the problems of all together."""
    setups: dict[str, Setup] = {}
    problems: dict[Problem, None] = {}
    directory, flags, file = request.directory, request.to_layer(), request.config_file
    for name in names:
        try:
            setup = load_guarded(directory, os.environ, flags=flags, file=file, image=name)
            check_build(setup, request.list_extra(setup.config.build), directory)
            setups[name] = setup
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(problems)
    return setups


@dataclass(frozen=True, slots=True)
class _Destination:
    """A destination that two images must not share; two are equal if their places are.

    Attributes:
        place: a kind and a normalized name.
        key: the config key or flag that declares it.
        verb: a participle.
    """

    place: tuple[str, str]
    key: str = field(compare=False)
    shown: str = field(compare=False)
    verb: str = field(default="written", compare=False)
    hint: str = field(default="give each image one of its own in `[images.NAME]`", compare=False)


def _check_destinations(setups: Mapping[str, Setup], request: BuildRequest) -> None:
    """Refuse images that would overwrite each other's output."""
    writers: dict[_Destination, list[str]] = defaultdict(list)
    for name, setup in setups.items():
        for each in dict.fromkeys(_list_destinations(setup, request)):
            writers[each].append(f"`{name}`")
    twice = {each: names for each, names in writers.items() if len(names) > 1}
    problems = []
    for each, (*others, last) in twice.items():
        why = f"`{each.shown}` would be {each.verb} by {', '.join(others)} and {last}"
        problems.append(Problem(each.key, "", why))
    if problems:
        raise ConfigError(problems, hint=";\n".join(dict.fromkeys(each.hint for each in twice)))


def _list_destinations(setup: Setup, request: BuildRequest) -> Iterator[_Destination]:
    """List the destinations of a build that another build could share; its scopes are its own."""
    extra = request.list_extra(setup.config.build)
    for flag in FILES:
        for path in find_values(extra, flag)[-1:]:
            yield _Destination(
                ("path", os.path.normpath(request.directory / path)), name_flag(flag), path
            )
    for backend in list_backends(setup):
        shared = backend.find_shared_ref()
        if shared is not None:
            ref, verb, hint = shared
            yield _Destination(("cache", _name_image(ref)), "cache.backends", ref, verb, hint)
    for tag in setup.config.build.tags:
        yield _Destination(("image", _name_image(tag)), "build.tags", tag)
    for output in setup.config.build.outputs:
        for kind, shown in list_destinations(output):
            place = _name_image(shown) if kind == "image" else str(request.directory / shown)
            yield _Destination((kind, place), "build.outputs", shown)


def _name_image(text: str) -> str:
    """Normalize an image's name; return an invalid one unchanged."""
    try:
        found = Reference.parse(text)
    except ValueError:
        return text
    return f"{found.host}/{found.path}:{found.tag or 'latest'}"
