"""bxcache as a plugin of docker's command line: `docker bxcache build …`.

Docker runs the program `docker-bxcache` in a folder of plugins, with its own global options and the
plugin's name before the arguments.
https://github.com/docker/cli/blob/v28.5.2/cli-plugins/metadata/metadata.go
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from bxcache.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = "bxcache"
_METADATA = {
    "SchemaVersion": "0.1.0",
    "Vendor": "The bxcache authors",
    "Version": __version__,
    "ShortDescription": "Cache and restore every stage of a build",
}
_VARIABLES = {
    **dict.fromkeys(("-c", "--context"), "DOCKER_CONTEXT"),
    **dict.fromkeys(("-H", "--host"), "DOCKER_HOST"),
    "--config": "DOCKER_CONFIG",
}
"""Docker's global options that have a variable, which the docker that bxcache runs reads."""


def main() -> NoReturn:
    """Answer docker's question about the plugin, or run the command line."""
    if sys.argv[1:2] == ["docker-cli-plugin-metadata"]:
        sys.stdout.write(json.dumps(_METADATA))
        sys.exit(0)
    variables, arguments = split_arguments(sys.argv[1:])
    os.environ.update(variables)
    from bxcache.cli.main import main as run  # noqa: PLC0415  # not for the question

    run(arguments)


def split_arguments(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split docker's arguments into variables, for its global options, and the plugin's own.

    >>> split_arguments(["--context", "far", "-H=tcp://a", "bxcache", "build", "."])
    ({'DOCKER_CONTEXT': 'far', 'DOCKER_HOST': 'tcp://a'}, ['build', '.'])
    """
    at = words.index(_NAME) if _NAME in words else -1
    found: dict[str, str] = {}
    for number, word in enumerate(words[: max(at, 0)]):
        option, equals, value = word.partition("=")
        if option in _VARIABLES:
            found[_VARIABLES[option]] = value if equals else words[number + 1]
    return found, [*words[at + 1 :]]
