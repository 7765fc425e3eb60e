"""The examples that `--help` ends with, one table for all commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = {
    "build": (
        "bxcache build .",
        "bxcache build -t registry.example.com/app:1 --push .",
        "bxcache build --target test --progress plain .",
        "bxcache build --backend type=registry,ref=registry.example.com/app-cache .",
        "bxcache build api worker --fail-fast",
        "bxcache build --all --report report.html --log build.log",
        "bxcache build --report report.html --report report.md .",
        "bxcache build --trace trace.json .",
        "bxcache build --dry-run . -- --ulimit nofile=1024",
    ),
    "bake": (
        "bxcache bake",
        "bxcache bake api web --push",
        "bxcache bake --report report.html",
        "bxcache bake -f docker-bake.hcl --set '*.platform=linux/arm64' release",
    ),
    "completion": (
        'eval "$(bxcache completion bash)"',
        'eval "$(bxcache completion zsh)"',
        "bxcache completion fish > ~/.config/fish/completions/bxcache.fish",
    ),
    "config check": ("bxcache config check bxcache.toml",),
    "config schema": ("bxcache config schema > bxcache.schema.json",),
    "config show": ("bxcache config show", "bxcache config show --image api"),
    "diff": (
        "bxcache diff",
        "bxcache diff ~3",
        "bxcache diff image.linux-amd64.main image.linux-amd64.topic",
    ),
    "history": (
        "bxcache history",
        "bxcache history api~1 --stage build",
        "bxcache history -q --stage deps --chain",
        "bxcache history --from registry.example.com/app-cache --branch main",
        "bxcache history --stage deps --export ./files",
    ),
    "key": ("bxcache key --style github", "bxcache key --style circleci --branch main"),
    "registry ls": (
        "bxcache registry ls",
        "bxcache registry ls --ref registry.example.com/app-cache --json",
    ),
    "registry prune": (
        "bxcache registry prune --max-age 14d --dry-run",
        "bxcache registry prune --gone --keep 'release-*'",
    ),
    "report": (
        "bxcache report",
        "bxcache report -o report.html",
        "bxcache report ~1 --trace trace.json",
        "bxcache report api~1 --json",
        "bxcache report --from registry.example.com/app-cache --branch main -o report.md",
    ),
    "store adopt": ("bxcache store adopt .docker-cache",),
    "store collect": ("bxcache store collect --max-size 5GB --max-age 14d",),
    "store du": ("bxcache store du",),
    "store ls": ("bxcache store ls", "bxcache store ls --dir /var/cache/app --json"),
    "store pack": ("bxcache store pack cache.tar.zst",),
    "store repair": ("bxcache store repair --full",),
    "store rm": ("bxcache store rm image.linux-amd64.topic",),
    "store unpack": ("bxcache store unpack cache.tar.zst",),
    "store verify": ("bxcache store verify --full",),
}
"""By the names of the commands."""


def list_commands(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its name below the program's."""
    for name, command in group.commands.items():
        path = f"{above} {name}".strip()
        if isinstance(command, click.Group):
            yield from list_commands(command, path)
        else:
            yield path, command


def add_examples(group: click.Group) -> None:
    """Have the help of each command end with its examples."""
    for path, command in list_commands(group):
        lines = EXAMPLES.get(path, ())
        if lines:
            shown = "\n".join(f"  {line}" for line in lines)
            command.epilog = f"\b\nExamples:\n{shown}"
