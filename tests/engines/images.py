"""Base images for test builds, with nothing pulled from a registry."""

import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.engines.archives import (
    Image,
    add_file,
    add_folder,
    add_link,
    read_image,
    write_image,
)
from tests.engines.client import DockerClient
from tests.engines.packages import host_tools, short_digest
from tests.engines.storage import keep

SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUSYBOX_STAGE = """\
FROM scratch AS {stage}
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
"""


def busybox_image() -> Image:
    """Return a small image with busybox and all its commands; /bin/sh is one of them."""
    tools = host_tools()
    name = f"busybox-{short_digest(tools.versions)}"
    return read_image(keep(name, _write_busybox))


def load_busybox(engine: DockerClient, tag: str = "busybox:latest") -> str:
    """Load the busybox image into an engine under this name and return the name.

    Builders that do not see the engine's images can be given it as
    `--build-context NAME=oci-layout://{busybox_image().layout}:latest`.
    """
    return load_image(engine, busybox_image(), tag)


def busybox_context(folder: Path, stage: str = "base") -> str:
    """Put busybox into a build context and return the Dockerfile text of a stage made of it.

    It needs no base image, so that it builds on every kind of builder.
    """
    shutil.copy2(host_tools().programs()["busybox"], folder / "busybox")
    return BUSYBOX_STAGE.format(stage=stage)


def load_image(engine: DockerClient, image: Image, tag: str) -> str:
    """Load an image into an engine under this name and return the name."""
    engine.docker("load", "--quiet", "--input", str(image.archive))
    loaded = image.name.removeprefix("docker.io/library/")
    if loaded != tag:
        engine.docker("tag", loaded, tag)
        engine.docker("image", "rm", loaded)
    return tag


def _write_busybox(folder: Path) -> None:
    busybox = host_tools().programs()["busybox"]
    listed = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True)
    commands = sorted(set(listed.stdout.split()) - {"bin/busybox"})

    def fill(tar: tarfile.TarFile) -> None:
        folders = {str(parent) for command in commands for parent in Path(command).parents}
        for name in sorted((folders - {"."}) | {"etc", "root"}):
            add_folder(tar, name)
        add_folder(tar, "tmp", 0o1777)
        add_file(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        add_file(tar, "etc/group", b"root:x:0:\n")
        add_file(tar, "bin/busybox", busybox, 0o755)
        for command in commands:
            add_link(tar, command, "/bin/busybox")

    settings: dict[str, object] = {"Env": [SEARCH_PATH], "Cmd": ["sh"]}
    write_image(folder, "docker.io/library/bxcache-busybox:latest", fill, settings=settings)
