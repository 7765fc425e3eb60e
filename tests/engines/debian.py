"""A base image with Debian, Python and a compiler, made from packages alone."""

import os
import shutil
import subprocess
import tarfile
from functools import partial
from pathlib import Path

from tests.engines.archives import Image, read_image, write_image
from tests.engines.client import DockerClient
from tests.engines.confinement import OWN_NAMESPACES, bound
from tests.engines.errors import EngineError
from tests.engines.images import SEARCH_PATH, load_image
from tests.engines.mirror import KEYRING, Mirror, host_codename
from tests.engines.packages import Unpacked, host_tools, require_root, short_digest
from tests.engines.storage import keep

INCLUDED = (
    *("ca-certificates", "python3", "python3-venv", "python3-pip", "python3-dev"),
    *("gcc", "libc6-dev"),
)
# A network may re-sign TLS, and then only the host knows whom to trust.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
NOT_NEEDED = (
    *("var/cache/apt/*", "var/lib/apt/lists/*", "var/cache/debconf/*", "var/log/*", "dev/*"),
    *("usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "usr/share/info/*"),
    *("etc/resolv.conf", "etc/hostname", "var/lib/dpkg/*-old"),
)


def debian_base(included: tuple[str, ...] = INCLUDED) -> Image:
    """Return an image of the host's own Debian suite with these packages: Python, pip and gcc.

    Making it takes about a minute and the network; after that it is kept.
    """
    require_root()
    suite = host_codename()
    trusted = CERTIFICATES.read_text() if CERTIFICATES.exists() else ""
    key = short_digest((suite, *included, trusted))
    return read_image(keep(f"debian-{suite}-{key}", partial(_write_debian, suite, included)))


def load_debian(engine: DockerClient, tag: str = "debian:local") -> str:
    """Load the Debian image into an engine under this name and return the name."""
    return load_image(engine, debian_base(), tag)


def _write_debian(suite: str, included: tuple[str, ...], folder: Path) -> None:
    root = folder / "root"
    _bootstrap(suite, included, root, folder / "helpers")
    _slim(root)
    if CERTIFICATES.exists():
        target = root / CERTIFICATES.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CERTIFICATES, target)
    environment = [SEARCH_PATH, *(f"{name}={CERTIFICATES}" for name in TRUST)]
    settings: dict[str, object] = {"Env": environment, "Cmd": ["bash"]}
    write_image(
        folder,
        f"docker.io/library/bxcache-debian:{suite}",
        lambda tar: _add_tree(tar, root),
        settings=settings,
    )
    shutil.rmtree(root)
    shutil.rmtree(folder / "helpers")


def _bootstrap(suite: str, included: tuple[str, ...], root: Path, helpers: Path) -> None:
    tools = host_tools()
    script = tools.programs()["debootstrap"]
    options = ["--variant=minbase", f"--include={','.join(included)}"]
    if KEYRING.exists():
        options.append(f"--keyring={KEYRING}")
    bootstrap = ["sh", str(script), *options, suite, str(root), Mirror.of_host().uri]
    done = subprocess.run(
        bound([*OWN_NAMESPACES, *bootstrap]),
        env=_bootstrap_environment(tools, helpers),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EngineError(
            f"debootstrap of {suite} failed",
            "Check that the Debian mirror of this machine's apt sources is in reach",
            done.stdout[-2000:] + done.stderr,
        )


def _bootstrap_environment(tools: Unpacked, helpers: Path) -> dict[str, str]:
    helpers.mkdir()
    if not shutil.which("wget"):
        (helpers / "wget").symlink_to(tools.programs()["busybox"])
    path = f"{helpers}{os.pathsep}{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin:/sbin"
    return dict(os.environ) | {
        "DEBOOTSTRAP_DIR": str(tools.root / "usr/share/debootstrap"),
        "LC_ALL": "C",
        "PATH": path,
    }


def _slim(root: Path) -> None:
    for pattern in NOT_NEEDED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _add_tree(tar: tarfile.TarFile, root: Path) -> None:
    for path in sorted(root.iterdir()):
        tar.add(path, path.name)
