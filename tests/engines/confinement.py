"""Commands wrapped so that they end with their parent and leave nothing behind."""

from collections.abc import Sequence
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


def bound(command: Sequence[str]) -> list[str]:
    """Return a command that runs another one which is killed when its parent thread ends."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def isolated(folder: Path, init: Path, command: Sequence[str]) -> list[str]:
    """Return a command that runs a Docker daemon so that nothing of it remains when it ends.

    Its processes, its mounts and its /run are its own; `init` is their process 1.
    """
    shade = ["sh", "-c", SHADE, "sh", str(folder / "shade")]
    return [*OWN_NAMESPACES, *shade, str(init), "--", *command]
