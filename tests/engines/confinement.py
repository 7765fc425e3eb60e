"""Commands wrapped so that they end with their parent and leave nothing behind."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

# Nothing that runs below such a command, and nothing it mounts, remains when it ends.
OWN_NAMESPACES = (
    *("unshare", "--mount", "--propagation", "slave", "--mount-proc"),
    *("--pid", "--fork", "--kill-child", "--"),
)
# Makes a private /run and /opt, where Docker's parts write to fixed paths, and then starts them.
SHADE = """\
mkdir "$1" && mount -t tmpfs shade "$1"
for place in run opt; do
    mkdir -p "$1/$place/upper" "$1/$place/work"
    mount -t overlay shade "/$place" \
        -o "lowerdir=/$place,upperdir=$1/$place/upper,workdir=$1/$place/work" || :
done
shift
exec "$@"
"""

# Shows other files in /etc to a command, with the machine's own behind them, and to nobody else.
DRESS = """\
mount -t overlay dress /etc -o "lowerdir=$1:/etc" || exit
shift
exec "$@"
"""
ETC = Path("/etc")


def bound(command: Sequence[str]) -> list[str]:
    """Return a command that runs another one which is killed when its parent thread ends."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def isolated(
    folder: Path, init: Path, command: Sequence[str], etc: Path | None = None
) -> list[str]:
    """Return a command that runs a Docker daemon so that nothing of it remains when it ends.

    Its processes, its mounts and its /run are its own; `init` is their process 1. It sees the files
    of `etc` in its /etc.
    """
    shade = ["sh", "-c", SHADE, "sh", str(folder / "shade")]
    dress = _dress(etc) if etc else []
    return [*OWN_NAMESPACES, *shade, *dress, str(init), "--", *command]


def dressed(etc: Path, command: Sequence[str]) -> list[str]:
    """Return a command that runs another one as the same process, with the files of `etc` in /etc.

    Only that one and what it starts see them.
    """
    return ["unshare", "--mount", "--propagation", "slave", "--", *_dress(etc), *command]


def lay_out_etc(etc: Path, hosts: Mapping[str, str], certificates: Mapping[str, Path]) -> None:
    """Make a folder to be shown in /etc.

    Args:
        etc: the folder.
        hosts: addresses by the names that they are given.
        certificates: for registries, by host and port, whose certificates docker is to trust.
    """
    etc.mkdir()
    # Where the machine is itself a container, these are mounts, which are not seen behind others.
    for name in ("hosts", "resolv.conf"):
        if (ETC / name).is_file():
            shutil.copy(ETC / name, etc / name)
    with (etc / "hosts").open("a") as file:
        file.writelines(f"\n{address} {name}\n" for name, address in hosts.items())
    for registry, certificate in certificates.items():
        place = etc / "docker" / "certs.d" / registry
        place.mkdir(parents=True)
        shutil.copy(certificate, place / "ca.crt")


def directly(environment: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the environment of a process that reaches these hosts itself, not through a proxy."""
    if not names:
        return dict(environment)
    # Programs differ in which of the two they prefer.
    known = environment.get("NO_PROXY") or environment.get("no_proxy")
    told = ",".join(filter(None, (known, *names)))
    return {**environment, "NO_PROXY": told, "no_proxy": told}


def _dress(etc: Path) -> list[str]:
    return ["sh", "-c", DRESS, "sh", str(etc)]
