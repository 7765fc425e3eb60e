"""Renders the files that `bxcache init` writes from what a survey found."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from bxcache.backends.cache_key import ALL, name_project
from bxcache.config.schema import SCHEMA_LINE
from bxcache.console.cache_key import render_github_steps
from bxcache.console.starter.systems import SYSTEMS
from bxcache.pipeline.survey import BUILDS, list_jobs
from bxcache.place.image_name import name_image
from bxcache.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.pipeline.survey import Image, Survey

CONFIG = "bxcache.toml"
STORE = ".bxcache"
_OWNER = "acme"
"""A placeholder for what the remote does not show."""
_IN_CHECKOUT = {"circleci", "github-files"}
"""Where the store is in the checkout, and so must be in no image and no commit."""
_IN_STEPS = " " * 6
LISTS = (".dockerignore", ".gitignore")
_PLACEHOLDER = re.compile(r"@(?P<name>[a-z]+)@")
_CONDITION = re.compile(r"@(?P<name>[a-z]+)\|(?P<rest>.*)")


def name_repository(found: Survey, system: str) -> tuple[str, bool] | None:
    """Name the repository of a registry for the image, and whether a person must change it.

    None where the CI system's jobs keep the cache without a registry.
    """
    kind = SYSTEMS[system]
    if kind.registry is None:
        return None
    is_known = found.remote is not None and kind.host == found.host
    path = found.remote or f"{_OWNER}/{found.name}"
    is_elsewhere = found.host not in (None, kind.host)
    return f"{(is_elsewhere and kind.elsewhere) or kind.registry}/{path}", not is_known


def render_files(
    found: Survey,
    system: str | None = None,
    repository: str | None = None,
    package: str | None = None,
) -> dict[str, str]:
    """Render the files of a repository by their paths from its top.

    Args:
        system: the CI system of the job; None for a config file alone.
        repository: the image's name in a registry, instead of the one from the git remote.
        package: what the job gives to pip to install bxcache; by default, this version of it.
    """
    if system is None:
        values = _list_values(found, repository or found.name, hint=False)
        kinds = {"local": "" if repository else "yes", "remote": "yes" if repository else ""}
        return {CONFIG: _render("local.toml", values | kinds)}
    named = name_repository(found, system)
    hint = named is not None and named[1] and not repository
    values = _list_values(found, repository or (named[0] if named else ""), hint=hint)
    values |= {"key": _name_key(found), "package": package or f"bxcache=={__version__}"}
    restore, save = render_github_steps(STORE)
    values |= {"restore": indent(restore, _IN_STEPS), "save": indent(save, _IN_STEPS)}
    values["release"] = "\n".join(_list_releases(found, repository or "$CI_REGISTRY_IMAGE"))
    written = {
        CONFIG: _render(f"{system}.toml", values),
        SYSTEMS[system].file: _render(SYSTEMS[system].template, values),
    }
    if system in _IN_CHECKOUT:
        written |= dict.fromkeys(LISTS, f"{STORE}\n")
    return written


def _list_values(found: Survey, repository: str, *, hint: bool) -> dict[str, str]:
    """The values of the templates' placeholders; conditions are true if they are not empty."""
    single = not found.bake and len(found.images) == 1
    command = "bxcache bake" if found.bake else "bxcache build" if single else "bxcache build --all"
    registry, _, path = repository.partition("/")
    prefix = repository or found.name
    settings = _list_settings(found.images[0], prefix, is_top=True) if single else ()
    # A job that keeps a local store names its image itself.
    named = settings if repository else (each for each in settings if not each.startswith("tags"))
    load = {"bxcache bake": " --load", "bxcache build": f" -t {found.name}"}.get(command, "")
    return {
        "bake": command if found.bake else "",
        "bakefile": found.bake or "",
        "plain": "" if found.bake else "yes",
        "single": "yes" if single else "",
        "hint": "yes" if hint else "",
        "build": command,
        "load": f"{command}{load}",
        "look": f"docker image inspect {found.name}" if single else "docker image ls",
        "name": found.name,
        "default": found.default,
        "repository": repository,
        "registry": registry,
        "path": path,
        "owner": path.rpartition("/")[0],
        "settings": "\n".join(named),
        "tables": "" if single or found.bake else "\n\n".join(_list_tables(found, prefix)),
        "schema": SCHEMA_LINE,
    }


def _list_settings(image: Image, tag: str, *, is_top: bool) -> Iterator[str]:
    usual = "Dockerfile" if image.context == "." else f"{image.context}/Dockerfile"
    if image.context != ".":
        yield f"context = {json.dumps(image.context)}"
    if image.file != usual:
        yield f"file = {json.dumps(image.file)}"
    yield f'tags = ["{tag if is_top else f"{tag}/{image.name}"}"]'


def _list_tables(found: Survey, prefix: str) -> Iterator[str]:
    for image in found.images:
        is_top = image.name == found.name
        yield "\n".join((f"[images.{image.name}]", *_list_settings(image, prefix, is_top=is_top)))


def _list_releases(found: Survey, prefix: str) -> Iterator[str]:
    """The lines of GitLab's job for a git tag: each image by its name with that tag."""
    for image in found.images:
        is_top = image.name == found.name
        name = "" if len(found.images) == 1 else f" {image.name}"
        tag = f"{prefix if is_top else f'{prefix}/{image.name}'}:$CI_COMMIT_TAG"
        yield f"    - bxcache build{name} --push --write never -t {tag}"


def _name_key(found: Survey) -> str:
    """The beginning of all keys of the store, as `bxcache key` prints it on such machines."""
    top, image = Path("/"), ALL
    if found.bake:
        image = name_image(top, top, ".", None)
    elif len(found.images) == 1:
        image = name_image(top, top, found.images[0].context, found.images[0].file)
    return name_project(image, None, ["linux/amd64"])


def _render(template: str, values: Mapping[str, str]) -> str:
    """Fill in a template.

    `@name@` is a value; a line that is left empty by it goes. A line behind `@name|` stays if the
    value is not empty.
    """
    lines = []
    for line in (files(__package__) / template).read_text(encoding="utf-8").splitlines():
        condition = _CONDITION.fullmatch(line)
        if condition and not values[condition["name"]]:
            continue
        text = condition["rest"] if condition else line
        filled = _PLACEHOLDER.sub(lambda match: values[match["name"]], text)
        if filled.strip() or not text.strip():
            lines.append(filled)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    return f"{text.strip()}\n"


def list_notes(found: Survey, system: str | None, repository: str | None) -> Iterator[str]:
    """Say what was found and is not, or no longer, of use, and what a person must put in."""
    named = name_repository(found, system) if system else None
    if named and named[1] and not repository:
        yield f"`{named[0]}` stands for the image's name: put it in, or give it by `--repository`"
    if found.bake and found.images:
        yield f"`{found.bake}` says what is built; Dockerfiles that it does not name are not built"
    elif found.compose:
        yield _describe_compose(found)
    for use in found.uses:
        is_own = system is not None and use.file == SYSTEMS[system].file
        what = "bxcache keeps that cache from now on, so remove it there"
        if use.what in BUILDS:
            command = "`bxcache bake`" if "bake" in use.what else "`bxcache build`"
            what = f"{command} there uses the cache"
            if system is not None:
                what = f"it builds beside the new job; remove it, or the job, as {what}"
        what = "the new job does without it" if is_own else what
        yield f"{use.file}:{', '.join(map(str, use.lines))} has `{use.what}`: {what}"
    for name in found.systems if system is None else ():
        yield f"`bxcache init --ci {name}` writes a job for {SYSTEMS[name].label}, too"


def _describe_compose(found: Survey) -> str:
    """Say what is taken over from the Compose file, and what is not."""
    taken = f"only contexts and Dockerfiles are taken over from `{found.compose}`"
    way = "`bxcache bake` builds that file with all that it says"
    if not found.left_out:
        return f"{taken}; {way}"
    keys = ", ".join(f"`{each}`" for each in found.left_out)
    spelled = " (`args` as `build_args`)" if "args" in found.left_out else ""
    return f"{taken}, not {keys} of its builds: add them to `{CONFIG}`{spelled}, or {way}"


def describe_replaced(name: str, text: str, system: str | None) -> str:
    """Say that a file is replaced, and which jobs are gone with it."""
    known = system is not None and name == SYSTEMS[system].file
    jobs = list_jobs(text, str(system).removesuffix("-files")) if known else ()
    lost = f"; it had {', '.join(f'`{each}`' for each in jobs)}" if jobs else ""
    return f"the whole `{name}` is replaced{lost}"


def render_preview(written: Mapping[str, str]) -> str:
    """Render the files, each below its path."""
    return "\n".join(f"==> {name} <==\n{text}" for name, text in written.items())


def render_done(changed: Iterable[str]) -> str:
    """Say which files were written, and what is next."""
    lines = [f"written: {name}" for name in changed] or ["nothing to write: all files are there"]
    return "\n".join((*lines, "next: read the comments, then `bxcache config check`"))
