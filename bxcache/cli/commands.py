"""The table of commands, which are imported when they run or when their own help is shown."""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.aliases import accept_aliases
from bxcache.cli.options import GroupedCommand
from bxcache.version import DOCS

if TYPE_CHECKING:
    from collections.abc import Callable


def _load(home: str) -> Any:  # noqa: ANN401  # any object can be loaded
    module, _, name = home.partition(":")
    return getattr(import_module(f"bxcache.cli.{module}"), name)


def command(action: str) -> Callable[[Callable[[], None]], click.Command]:
    """Declare a command that runs an action of `cli.actions`, which is imported only then."""

    def declare(declared: Callable[[], None]) -> click.Command:
        @wraps(declared)
        def run(**values: Any) -> Any:  # noqa: ANN401  # click's options
            _load("job_log:print_library_log")()
            return _load(f"actions.{action}")(**values)

        return click.command(declared.__name__.removesuffix("_command"), cls=GroupedCommand)(run)

    return declare


def find_extra() -> tuple[str, ...]:
    """The arguments after `--`, which are docker's."""
    return click.get_current_context().obj or ()


COMMANDS = {
    "bake": (
        "Bake targets from their caches, and save them.",
        "bxcache bake",
        "bxcache bake api web --push",
        "bxcache bake --report report.html",
        "bxcache bake -f docker-bake.hcl --set '*.platform=linux/arm64' release",
    ),
    "build": (
        "Build an image from its caches, and save them.",
        "bxcache build .",
        "bxcache build -t registry.example.com/app:1 --push .",
        "bxcache build --target test --progress plain .",
        "bxcache build --backend type=registry,ref=registry.example.com/app-cache .",
        "bxcache build api worker --fail-fast",
        "bxcache build --all --report report.html --log build.log",
        "bxcache build --report report.html --report report.md .",
        "bxcache build --trace trace.json .",
        "bxcache build --dry-run --ulimit nofile=1024 .",
    ),
    "builder ls": (
        "List all builders, and what they can export.",
        "bxcache builder ls",
        "bxcache builder ls --json",
    ),
    "builder rm": (
        "Remove a builder.",
        "bxcache builder rm",
        "bxcache builder rm bxcache --dry-run",
    ),
    "builder up": (
        "Create, change or start the declared builder.",
        "bxcache builder up",
        "bxcache builder up --json",
    ),
    "completion bash": ("Print the code for bash.", 'eval "$(bxcache completion bash)"'),
    "completion fish": (
        "Print the code for fish.",
        "bxcache completion fish > ~/.config/fish/completions/bxcache.fish",
    ),
    "completion install": (
        "Write the code where the shell looks for it.",
        "bxcache completion install",
        "bxcache completion install zsh --dry-run",
    ),
    "completion zsh": ("Print the code for zsh.", 'eval "$(bxcache completion zsh)"'),
    "config check": (
        "Check a config file and print all its problems.",
        "bxcache config check",
        "bxcache config check release.toml",
    ),
    "config schema": (
        "Print the JSON Schema of the config file.",
        "bxcache config schema > bxcache.schema.json",
    ),
    "config show": (
        "Print every value and where it comes from.",
        "bxcache config show",
        "bxcache config show --changed",
        "bxcache config show --image api --json",
    ),
    "diff": (
        "Compare the layers of two builds, stage by stage.",
        "bxcache diff",
        "bxcache diff ~3",
        "bxcache diff image.linux-amd64.main image.linux-amd64.topic",
    ),
    "doctor": (
        "Examine docker, the builder, the caches and the configuration.",
        "bxcache doctor",
        "bxcache doctor --fix",
        "bxcache doctor --json",
    ),
    "explain": (
        "Explain why steps of a past build were executed.",
        "bxcache explain",
        "bxcache explain api --json",
        "bxcache explain --against ~3",
    ),
    "history": (
        "Show the layers of each stage and the steps behind them.",
        "bxcache history",
        "bxcache history api~1 --stage build",
        "bxcache history -q --stage deps --chain",
        "bxcache history --from registry.example.com/app-cache --branch main",
        "bxcache history --stage deps --export ./files",
    ),
    "init": (
        "Write the first config file, and the job of a CI system.",
        "bxcache init",
        "bxcache init --ci github",
        "bxcache init --ci gitlab --dry-run",
    ),
    "key": (
        "Print a key for CI systems that keep the store as files.",
        "bxcache key --style github",
        "bxcache key --style circleci --branch main",
    ),
    "registry ls": (
        "List the scopes: branch, size, age, last use.",
        "bxcache registry ls",
        "bxcache registry ls --from registry.example.com/app-cache --json",
    ),
    "registry prune": (
        "Remove scopes by age, or without a branch in git.",
        "bxcache registry prune --max-age 14d --dry-run",
        "bxcache registry prune --gone --keep 'release-*'",
    ),
    "registry rm": (
        "Remove scopes.",
        "bxcache registry rm image.linux-amd64.topic --dry-run",
    ),
    "predict": (
        "Predict which steps a build would reuse.",
        "bxcache predict .",
        "bxcache predict api --json",
    ),
    "report": (
        "Report on a past build: time, hits, layers.",
        "bxcache report",
        "bxcache report -o report.html",
        "bxcache report ~1 --trace trace.json",
        "bxcache report api~1 --json",
        "bxcache report --from registry.example.com/app-cache --branch main -o report.md",
    ),
    "store adopt": (
        "Turn a cache that plain buildx exported into a store.",
        "bxcache store adopt .docker-cache",
    ),
    "store du": ("Show the size of each scope, alone and shared.", "bxcache store du"),
    "store ls": (
        "List the scopes: size, age, last use, steps.",
        "bxcache store ls",
        "bxcache store ls --from /var/cache/app --json",
    ),
    "store pack": ("Write the store as one file.", "bxcache store pack cache.tar.zst"),
    "store prune": (
        "Remove unneeded blobs, unused scopes and excess.",
        "bxcache store prune --dry-run",
        "bxcache store prune --max-size 5GB --max-age 14d",
    ),
    "store repair": (
        "Remove damaged blobs, so that builds miss instead of failing.",
        "bxcache store repair --full",
    ),
    "store rm": (
        "Remove scopes and the blobs that only they need.",
        "bxcache store rm image.linux-amd64.topic",
    ),
    "store unpack": (
        "Add the scopes of a packed file to the store.",
        "bxcache store unpack cache.tar.zst",
    ),
    "store verify": ("Check the store for damage; change nothing.", "bxcache store verify --full"),
}
"""By name, without the program's: the line in lists of commands, then the examples of the help."""

_PAGES = {
    "bake": "bake.md",
    "builder": "builders.md",
    "completion": "start.md#completion-of-the-command-line",
    "config": "configuration.md",
    "diff": "history.md",
    "doctor": "doctor.md",
    "explain": "misses.md",
    "history": "history.md",
    "key": "local.md",
    "predict": "misses.md#before-a-build",
    "registry": "registry.md",
    "report": "reports.md",
    "store": "local.md",
}
"""The page of the documentation on each command or group that the first page does not explain."""

_SHARED = {
    "bake": "build",
    "diff": "history",
    "explain": "history",
    "key": "store",
    "predict": "build",
    "report": "history",
}
"""The modules that are not named as their commands."""

GROUPS = {
    "builder": "Bring up, list and remove the builders of builds.",
    "completion": "Let a shell complete commands, options, images, stages and scopes.",
    "config": "Show and check the configuration.",
    "registry": "List and prune the scopes in a registry.",
    "store": "Inspect, limit, repair and move the local store.",
}


def name_page(path: str) -> str:
    """The last line of a command's help: its page of the documentation."""
    return f"\b\nDocs: {DOCS}/{_PAGES.get(path.partition(' ')[0], 'start.md')}"


def load_command(path: str) -> click.Command:
    """Import a command, which its module has under the last word of its name."""
    module, name = _SHARED.get(path, path.split(maxsplit=1)[0]), path.rsplit(maxsplit=1)[-1]
    command: click.Command = _load(f"{module}:{name}_command")
    command.short_help, *examples = COMMANDS[path]
    command.context_settings = accept_aliases(path)
    lines = ("\b\nExamples:", *(f"  {line}" for line in examples), "", name_page(path))
    command.epilog = "\n".join(lines)
    return command


class LazyGroup(click.Group):
    """A group that lists its commands without importing them.

    https://click.palletsprojects.com/en/stable/complex/#lazily-loading-subcommands
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Import the command that the arguments name."""
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except click.UsageError as error:
            known = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"{error.message} The commands: {known}.", ctx) from error
        path = " ".join(filter(None, (*ctx.command_path.split()[1:], name)))
        return name, load_command(path) if path in COMMANDS else command, rest


def add_commands(root: click.Group) -> None:
    """Add every command of the table to the program."""
    groups = {}
    for name, text in GROUPS.items():
        groups[name] = LazyGroup(
            name, help=text, epilog=name_page(name), context_settings=accept_aliases(name)
        )
        root.add_command(groups[name])
    for path, (short_help, *_) in COMMANDS.items():
        above, _, name = path.rpartition(" ")
        placeholder = click.Command(name, short_help=short_help)
        groups.get(above, root).add_command(placeholder)
