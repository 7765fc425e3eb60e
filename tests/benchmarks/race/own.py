"""bxcache's approaches, as its documentation recommends them."""

from __future__ import annotations

from tests.benchmarks.race.approaches import TAGGED, ZSTD, ZSTD_IMAGE, Approach, RawZstd
from tests.benchmarks.race.machine import Built, Machine


class OwnLocal(Approach):
    """A local store, which is carried over as a folder."""

    name = "bxcache local"
    about = "a local store, carried over when its key has changed"
    backend = "local"
    own = True

    def restore(self, machine: Machine) -> None:
        """Bring the store."""
        machine.unpack("store")

    def build(self, machine: Machine) -> Built:
        """Build with the store."""
        return machine.build_own(*name_store(machine), *TAGGED)

    def save(self, machine: Machine) -> None:
        """Keep the store, unless it is the one that was brought."""
        if is_changed(machine):
            machine.pack("store")


class OwnPacked(OwnLocal):
    """A local store, which is carried over as one file that bxcache packs."""

    name = "bxcache local, packed"
    about = "a local store, carried over by `bxcache store pack` and `unpack`"

    def restore(self, machine: Machine) -> None:
        """Unpack the store."""
        file = machine.outside / "store.tar.zst"
        if file.exists():
            machine.note_brought(file)
            machine.bxcache("store", "unpack", "--from", str(machine.folder / "store"), str(file))

    def save(self, machine: Machine) -> None:
        """Pack the store, unless it is the one that was brought."""
        if is_changed(machine):
            file = machine.outside / "store.tar.zst"
            machine.bxcache("store", "pack", "--from", str(machine.folder / "store"), str(file))
            machine.note_taken(file)


class OwnZstd(OwnLocal):
    """A local store, and an image, which are both compressed by zstd."""

    name = "bxcache local, zstd"
    about = f"a local store, with `{ZSTD}` for it and the image"
    backend = RawZstd.backend

    def build(self, machine: Machine) -> Built:
        """Build with the store."""
        flag, store = name_store(machine)
        return machine.build_own(flag, f"{store},{ZSTD}", *ZSTD_IMAGE)


class OwnRegistry(Approach):
    """A cache in a registry."""

    name = "bxcache registry"
    about = "`type=registry`"
    backend = "registry"
    own = True

    def build(self, machine: Machine) -> Built:
        """Build with the registry."""
        return machine.build_own("--backend", f"type=registry,ref={machine.repository}", *TAGGED)


class OwnInline(Approach):
    """An image of every stage, which bxcache pushes."""

    name = "bxcache inline, all stages"
    about = "`type=inline,stages=all`"
    backend = "inline"
    own = True
    containerd = False

    def build(self, machine: Machine) -> Built:
        """Build with images of all stages."""
        backend = f"type=inline,ref={machine.repository},stages=all"
        return machine.build_own("--backend", backend, *TAGGED)


class OwnBoth(OwnLocal):
    """A local store and a registry."""

    name = "bxcache local and registry"
    about = "a local store that is carried over, and a registry"
    backend = "both"

    def build(self, machine: Machine) -> Built:
        """Build with both."""
        backend = f"type=registry,ref={machine.repository}"
        return machine.build_own(*name_store(machine), "--backend", backend, *TAGGED)


def name_store(machine: Machine) -> tuple[str, ...]:
    """Return the words that name the store."""
    return ("--backend", f"type=local,dir={machine.folder / 'store'}")


def is_changed(machine: Machine) -> bool:
    """Whether the content of the store is not what is kept, by the end of its key."""
    file = machine.outside / "content"
    keys = machine.bxcache("key", "--from", str(machine.folder / "store"))
    content = keys.splitlines()[0].rpartition("~")[2]
    if file.exists() and file.read_text() == content:
        return False
    file.write_text(content)
    return True
