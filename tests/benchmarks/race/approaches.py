"""The approaches of the race: how each brings its cache, builds, and keeps it for the next time."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from tests.benchmarks.race.machine import IMAGE, Built, Machine
from tests.benchmarks.race.steps import scrape_images

INLINE = ("--build-arg", "BUILDKIT_INLINE_CACHE=1")
TAGGED = ("--tag", IMAGE)
ZSTD = "compression=zstd"
ZSTD_IMAGE = ("--output", f"type=image,name={IMAGE},{ZSTD}")
LATEST = "latest"


class Approach(ABC):
    """A way to keep a build's cache.

    Attributes:
        name: its name, for people.
        about: what it does, in a line.
        backend: where the cache is kept; those of one kind are compared.
        own: whether it is bxcache.
        containerd: whether its engines have the containerd image store.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    backend: ClassVar[str]
    own: ClassVar[bool] = False
    containerd: ClassVar[bool] = True

    def restore(self, machine: Machine) -> None:
        """Bring the cache to the machine."""
        del machine

    @abstractmethod
    def build(self, machine: Machine) -> Built:
        """Build the commit, and leave the image in the engine."""

    def save(self, machine: Machine) -> None:
        """Keep the cache of a build that succeeded."""
        del machine


class Nothing(Approach):
    """No cache at all."""

    name = "none"
    about = "no cache: `docker buildx build`"
    backend = "none"

    def build(self, machine: Machine) -> Built:
        """Build from nothing."""
        return machine.buildx(TAGGED)


class SavedImages(Approach):
    """Images that are saved as one archive, loaded again, and named as caches."""

    backend = "images"
    containerd = False

    def restore(self, machine: Machine) -> None:
        """Load the images."""
        machine.unpack("images")
        archive = machine.folder / "images" / "images.tar"
        if archive.exists():
            machine.docker("load", "--quiet", "--input", str(archive))

    def save(self, machine: Machine) -> None:
        """Save the images."""
        folder = machine.folder / "images"
        folder.mkdir(exist_ok=True)
        archive = folder / "images.tar"
        machine.docker("save", "--output", str(archive), *self.list_images(machine))
        machine.pack("images")

    @abstractmethod
    def list_images(self, machine: Machine) -> Sequence[str]:
        """Return the images to save."""


class SavedFinal(SavedImages):
    """The final image alone."""

    name = "save/load, final image"
    about = "`docker save` of the final image with an inline cache, and `--cache-from` after `load`"

    def build(self, machine: Machine) -> Built:
        """Build from the image that was loaded."""
        return machine.buildx((*INLINE, *name_sources(list_loaded(machine)), *TAGGED))

    def list_images(self, machine: Machine) -> Sequence[str]:
        """Return the final image."""
        del machine
        return (IMAGE,)


class SavedStages(SavedImages):
    """The image of every stage."""

    name = "save/load, all stages"
    about = "every stage built with `--target` and an inline cache, all saved as one archive"

    def build(self, machine: Machine) -> Built:
        """Build each stage from the images of all, one after the other."""
        return machine.buildx(*list_builds(machine, IMAGE, list_loaded(machine)))

    def list_images(self, machine: Machine) -> Sequence[str]:
        """Return the image of each stage and the final one."""
        return [f"{IMAGE}:{name}" for name in list_names(machine)]


class ScrapedImages(SavedImages):
    """All images whose ids the classic builder prints."""

    name = "save/load, scraped ids"
    about = "the ids in the classic builder's output, saved as one archive"

    def build(self, machine: Machine) -> Built:
        """Build from the images that were loaded."""
        ids = machine.folder / "images" / "ids"
        known = ids.read_text().split() if ids.exists() else ()
        built, text = machine.classic(*name_sources(known), *TAGGED)
        ids.parent.mkdir(exist_ok=True)
        ids.write_text("\n".join(scrape_images(text)))
        return built

    def list_images(self, machine: Machine) -> Sequence[str]:
        """Return the final image and the others."""
        return (IMAGE, *(machine.folder / "images" / "ids").read_text().split())


class PushedStages(Approach):
    """An image of every stage in a registry, each with an inline cache."""

    name = "one image per stage"
    about = "every stage built with `--target`, pushed, and named with `--cache-from`"
    backend = "stage images"
    containerd = False

    def build(self, machine: Machine) -> Built:
        """Build each stage from the images of all."""
        sources = [f"{machine.repository}:{name}" for name in list_names(machine)]
        built = machine.buildx(*list_builds(machine, machine.repository, sources))
        if not built.status:
            machine.docker("tag", f"{machine.repository}:latest", IMAGE)
        return built

    def save(self, machine: Machine) -> None:
        """Push all images."""
        for name in list_names(machine):
            machine.docker("push", "--quiet", f"{machine.repository}:{name}")


def list_names(machine: Machine) -> Sequence[str]:
    """Return the tags for the stages, and that of the final image."""
    return (*machine.application.list_stages(machine.commit), LATEST)


def list_loaded(machine: Machine) -> Sequence[str]:
    """Return the images that were loaded."""
    return machine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()


def list_builds(machine: Machine, name: str, sources: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the words of builds of all stages, each under a tag of its own."""
    known = (*INLINE, *name_sources(sources))
    return [
        (*known, *(() if tag == LATEST else ("--target", tag)), "--tag", f"{name}:{tag}")
        for tag in list_names(machine)
    ]


def name_sources(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the words that name images as caches."""
    return tuple(word for source in sources for word in ("--cache-from", source))


class RawLocal(Approach):
    """A directory of plain buildx."""

    name = "buildx local, one directory"
    about = "`type=local,mode=max` into the directory that was read"
    backend = "local"
    image: ClassVar = TAGGED
    mode: ClassVar = "mode=max"

    def restore(self, machine: Machine) -> None:
        """Bring the directory."""
        machine.unpack("cache")

    def build(self, machine: Machine) -> Built:
        """Build from the directory and into it."""
        return self._build(machine, "cache")

    def save(self, machine: Machine) -> None:
        """Keep the directory."""
        machine.pack("cache")

    def _build(self, machine: Machine, target: str) -> Built:
        source = machine.folder / "cache"
        known = ("--cache-from", f"type=local,src={source}") if source.is_dir() else ()
        to = f"type=local,dest={machine.folder / target},{self.mode}"
        return machine.buildx((*known, "--cache-to", to, *self.image))


class RawMoved(RawLocal):
    """A new directory of plain buildx for each build, moved to the place of the last one."""

    name = "buildx local, new directory"
    about = "`type=local,mode=max` into a new directory, which is moved to the place of the last"

    def build(self, machine: Machine) -> Built:
        """Build from the old directory into a new one."""
        return self._build(machine, "new")

    def save(self, machine: Machine) -> None:
        """Keep the new directory in place of the old one."""
        shutil.rmtree(machine.folder / "cache", ignore_errors=True)
        (machine.folder / "new").rename(machine.folder / "cache")
        super().save(machine)


class RawZstd(RawLocal):
    """A directory of plain buildx, and an image, which are both compressed by zstd."""

    name = "buildx local, zstd"
    about = f"one directory, with `{ZSTD}` for the cache and the image"
    backend = "local, zstd"
    image = ZSTD_IMAGE
    mode = f"mode=max,{ZSTD}"


class RawRegistry(Approach):
    """A cache of plain buildx in a registry."""

    name = "buildx registry"
    about = "`type=registry,mode=max`"
    backend = "registry"

    def build(self, machine: Machine) -> Built:
        """Build from the ref and to it."""
        cache = f"type=registry,ref={machine.repository}:cache"
        to = f"{cache},mode=max"
        return machine.buildx(("--cache-from", cache, "--cache-to", to, *TAGGED))


class RawInline(Approach):
    """An inline cache in the final image, which is pushed."""

    name = "buildx inline"
    about = "`type=inline` in the final image, which is pushed"
    backend = "inline"
    containerd = False

    def build(self, machine: Machine) -> Built:
        """Build from the image that was pushed."""
        ref = f"{machine.repository}:latest"
        words = ("--cache-from", f"type=registry,ref={ref}", "--cache-to", "type=inline")
        return machine.buildx((*words, "--tag", ref, *TAGGED))

    def save(self, machine: Machine) -> None:
        """Push the image."""
        machine.docker("push", "--quiet", f"{machine.repository}:latest")
