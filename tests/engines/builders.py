"""Builders besides the engine's own: other drivers, on a real BuildKit, with nothing pulled."""

import itertools
import os
import secrets
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.engines.archives import (
    Image,
    add_file,
    add_folder,
    add_link,
    read_image,
    write_image,
)
from tests.engines.bridge import buildkit_socket
from tests.engines.client import DockerClient
from tests.engines.engine import Engine
from tests.engines.libraries import needed_libraries
from tests.engines.packages import Toolset, short_digest
from tests.engines.storage import keep

# Nothing listens at this address, so buildx fails at once to pull the image, and takes the loaded
# one.
REPOSITORY = "127.0.0.1:1/bxcache-builder"
PROGRAMS = ("docker", "dockerd", "containerd", "containerd-shim-runc-v2", "runc")
COMMANDS = ("sh", "cat", "mkdir", "mkfifo", "mount", "printf", "rm", "sed", "sleep", "xargs")
FOLDERS = ("bin", "etc", "lib", "lib64", "proc", "root", "run", "sys", "tmp", "usr", "var")
# Starts the engine whatever arguments it is given, for they are meant for buildkitd. Where the
# control groups are of version 2, a group with processes cannot have groups below it.
START = """\
#!/bin/sh
groups=/sys/fs/cgroup
if [ -f $groups/cgroup.controllers ]; then
    mkdir -p $groups/init
    xargs -rn1 < $groups/cgroup.procs > $groups/init/cgroup.procs || :
    sed -e 's/ / +/g' -e 's/^/+/' < $groups/cgroup.controllers \
        > $groups/cgroup.subtree_control || :
fi
exec dockerd --config-file /etc/daemon.json
"""
SETTINGS = """\
{
  "data-root": "/var/lib/buildkit",
  "hosts": ["unix:///run/docker.sock"],
  "bridge": "none",
  "iptables": false,
  "ip6tables": false,
  "ip-forward": false,
  "userland-proxy": false,
  "features": {"containerd-snapshotter": true},
  "insecure-registries": ["127.0.0.0/8"],
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "shutdown-timeout": 3
}
"""
# Stands for buildkitd's own client: answers once the engine does, and dials its BuildKit. Not a
# byte of the client's may be sent before the answer to the upgrade has been read.
BUILDCTL = """\
#!/bin/sh
until [ -S /run/docker.sock ]; do sleep 0.1; done
case " $* " in
    *" dial-stdio "*) ;;
    *) exit 0 ;;
esac
switched=/tmp/switched.$$
mkfifo $switched
{
    printf '%s\\r\\n' 'POST /grpc HTTP/1.1' 'Host: engine' 'Connection: Upgrade' 'Upgrade: h2c' ''
    cat $switched
    rm $switched
    cat
} | docker --host unix:///run/docker.sock system dial-stdio | {
    end=$(printf '\\r')
    while IFS= read -r line && [ "$line" != "$end" ]; do :; done
    : > $switched
    cat
}
"""

_numbers = itertools.count(1)


@contextmanager
def container_builder(engine: Engine, *, network: str = "none") -> Iterator[str]:
    """Give the engine a builder of the docker-container driver; yield its name.

    With the network "host" it reaches registries on the loopback interface and the world.
    """
    image = load_builder_image(engine)
    group = f"/{engine.folder.name}/buildx"
    options = f"image={image},network={network},cgroup-parent={group}"
    name = f"container-{next(_numbers)}"
    create = ("buildx", "create", "--name", name, "--bootstrap", "--driver")
    try:
        engine.docker(*create, "docker-container", "--driver-opt", options)
        yield name
    finally:
        # This does the same as `docker buildx rm`, which takes time to ask the builder first.
        engine.docker("rm", "--force", f"buildx_buildkit_{name}0", check=False)
        engine.docker("volume", "rm", "--force", f"buildx_buildkit_{name}0_state", check=False)
        (engine.folder / "buildx" / "instances" / name).unlink(missing_ok=True)


@contextmanager
def new_builder(engine: DockerClient) -> Iterator[str]:
    """Give an engine that somebody else runs a builder on the host's network; yield its name.

    Its image is the one that BXCACHE_TEST_BUILDER_IMAGE names, or docker's own choice.
    """
    image = os.environ.get("BXCACHE_TEST_BUILDER_IMAGE")
    options = ("network=host", *((f"image={image}",) if image else ()))
    words = [word for option in options for word in ("--driver-opt", option)]
    name = f"bxcache-{secrets.token_hex(4)}"
    create = ("buildx", "create", "--name", name, "--driver", "docker-container", "--bootstrap")
    try:
        engine.docker(*create, *words)
        yield name
    finally:
        engine.docker("buildx", "rm", "--force", name, check=False)


@contextmanager
def address_builder(
    engine: DockerClient, *addresses: str, platforms: Sequence[str] = ("",)
) -> Iterator[str]:
    """Give an engine a builder with a buildkitd at an address for each platform; yield its name."""
    name = f"bxcache-{secrets.token_hex(4)}"
    create = ("buildx", "create", "--name", name, "--driver", "remote")
    try:
        for number, (address, platform) in enumerate(zip(addresses, platforms, strict=True)):
            more = ("--append",) if number else ()
            own = ("--platform", platform) if platform else ()
            engine.docker(*create, *more, *own, address)
        yield name
    finally:
        engine.docker("buildx", "rm", "--force", name, check=False)


@contextmanager
def remote_builder(engine: Engine, *others: Engine, platforms: Sequence[str] = ()) -> Iterator[str]:
    """Give the engine a builder of the remote driver; yield its name.

    The BuildKit of each of these engines is a node of it, which builds for the platform at the
    same place; one engine may be several nodes.
    """
    name = f"remote-{next(_numbers)}"
    create = ("buildx", "create", "--name", name, "--driver", "remote")
    with ExitStack() as bridges:
        try:
            for number, node in enumerate((engine, *others)):
                path = engine.folder / f"{name}-{number}"
                bridges.enter_context(buildkit_socket(node.socket, path))
                append = ("--append",) if number else ()
                own = ("--platform", platforms[number]) if platforms else ()
                engine.docker(*create, *append, *own, f"unix://{path}")
            engine.docker("buildx", "inspect", "--bootstrap", name)
            yield name
        finally:
            engine.docker("buildx", "rm", "--force", name, check=False)


def load_builder_image(engine: Engine) -> str:
    """Load the image of the docker-container builder into an engine, once; return its name."""
    image = builder_image(engine.tools)
    if engine.docker("image", "inspect", image.name, check=False).returncode:
        engine.docker("load", "--quiet", "--input", str(image.archive))
    return image.name


def builder_image(tools: Toolset) -> Image:
    """Return an image that starts an engine where buildx expects buildkitd."""
    key = short_digest((*tools.versions, START, SETTINGS, BUILDCTL))
    name = f"{REPOSITORY}:{key}"
    settings: dict[str, object] = {"Entrypoint": ["/bin/start"], "Env": ["PATH=/bin"]}
    fill = partial(_fill_builder, tools)
    kept = keep(
        f"builder-{key}",
        lambda folder: write_image(folder, name, fill, settings=settings, bulky=True),
    )
    return read_image(kept)


def _fill_builder(tools: Toolset, tar: tarfile.TarFile) -> None:
    for folder in FOLDERS:
        add_folder(tar, folder, 0o1777 if folder == "tmp" else 0o755)
    add_file(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    add_file(tar, "etc/group", b"root:x:0:\n")
    add_file(tar, "etc/daemon.json", SETTINGS.encode())
    for name, text in (("start", START), ("buildctl", BUILDCTL)):
        add_file(tar, f"bin/{name}", text.encode(), 0o755)
    add_file(tar, "bin/busybox", tools.program("busybox"), 0o755)
    for command in COMMANDS:
        add_link(tar, f"bin/{command}", "busybox")
    for name in PROGRAMS:
        add_file(tar, f"bin/{name}", tools.program(name), 0o755)
    _fill_libraries(tools, tar)


def _fill_libraries(tools: Toolset, tar: tarfile.TarFile) -> None:
    needs = [needed_libraries(tools.program(name), tools.libraries) for name in PROGRAMS]
    libraries = {name: path for need in needs for name, path in need.items() if path}
    for name, path in sorted(libraries.items()):
        add_file(tar, f"lib/{name}", path.resolve(), 0o755)
    for loader in sorted(Path("/").glob("lib*/ld-linux*")):
        add_file(tar, str(loader).lstrip("/"), loader.resolve(), 0o755)
