"""`bxcache completion`: bash, fish, zsh, install; and completions that depend on the project."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete

from bxcache.cli.commands import command
from bxcache.cli.options import GroupedCommand, flag

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
VARIABLE = "_BXCACHE_COMPLETE"
_RETURN = "    return 0\n"
# A word that ends in a sign waits for its value.
_BASH_SIGNS = """\
    local each signs=0
    for each in "${COMPREPLY[@]}"; do
        [[ $each == *= ]] || return 0
        signs=1
    done
    [[ $signs == 0 ]] || compopt -o nospace

"""


def render_script(shell: str) -> str:
    """The code with which a shell asks bxcache for completions."""
    root = click.get_current_context().find_root().command
    source = SHELLS[shell](root, {}, "bxcache", VARIABLE).source()
    if shell == "bash":
        source = source.replace(_RETURN, f"{_BASH_SIGNS}{_RETURN}", 1)
    return source


def _print_script(shell: str) -> click.Command:
    words = f"Print the code that makes {shell} complete commands, options, images and stages."
    return click.command(shell, cls=GroupedCommand, help=words)(
        lambda: click.echo(render_script(shell))
    )


bash_command, zsh_command, fish_command = map(_print_script, SHELLS)


@command("completion:install")
@click.argument("shell", type=click.Choice([*SHELLS]), required=False)
@flag("--dry-run", help="Only show which file would be written.")
def install_command() -> None:
    """Write the code where the shell looks for it, and say what is left to do.

    SHELL defaults to the user's own, which the variable SHELL names.
    """


def complete_images(
    _context: click.Context, _parameter: click.Parameter, word: str
) -> list[CompletionItem]:
    """The images of the config file, and folders."""
    # Bash ignores everything before the folders.
    found = [CompletionItem(word, type="dir")]
    # The command reports errors when it runs.
    with suppress(Exception):
        from bxcache.place.trust import load_guarded  # noqa: PLC0415  # a shell waits

        names = load_guarded(Path.cwd(), os.environ).config.images
        found += [CompletionItem(name) for name in names if name.startswith(word)]
    return found


def complete_stages(context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """The named stages of the Dockerfile."""
    with suppress(Exception):
        from bxcache.buildx.dockerfile import list_stages, read_dockerfile  # noqa: PLC0415

        stages = list_stages(read_dockerfile(_find_dockerfile(context)))
        return [each.name for each in stages if each.is_named and each.name.startswith(word)]
    return []


def _find_dockerfile(context: click.Context) -> Path:
    """The Dockerfile of the image or folder that is named so far, or else the usual one."""
    from bxcache.config.paths import find_dockerfile  # noqa: PLC0415  # a shell waits
    from bxcache.place.trust import load_guarded  # noqa: PLC0415  # as above

    given = context.params
    # Before an option's missing value, click has not yet given the words their name.
    words, file = (*(given.get("words") or ()), *context.args), given.get("config_file")
    setup = load_guarded(Path.cwd(), os.environ, file=file)
    named = (given.get("image"), given.get("name"), *words)
    image = next((each for each in named if each in setup.config.images), None)
    if image is not None:
        setup = load_guarded(Path.cwd(), os.environ, file=file, image=image)
    folder = next((each for each in words if each != image and Path(each).is_dir()), None)
    build = setup.config.build
    return find_dockerfile(Path(), folder or build.context, given.get("file") or build.file)


def complete_kept_stages(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[str]:
    """The stages in the local store's record of the scope, or else those of the Dockerfile."""
    with suppress(Exception):
        from bxcache.backends.location import choose_location  # noqa: PLC0415  # a shell waits
        from bxcache.insight.find import find_history  # noqa: PLC0415  # as above
        from bxcache.insight.history_request import HistoryRequest  # noqa: PLC0415  # as above

        # A registry would keep the shell waiting.
        store = choose_location(Path.cwd(), os.environ).store
        given = context.params
        request = HistoryRequest.of(
            given.get("name") or given.get("after"),
            source=store.path,
            target=given.get("target"),
            branch=given.get("branch"),
        )
        history = find_history(request)
        return [each.name for each in history.stages if each.name.startswith(word)]
    return complete_stages(context, parameter, word)


def complete_gates(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """The gates."""
    with suppress(Exception):
        from bxcache.config.models import GateSettings  # noqa: PLC0415  # a shell waits

        return [f"{name}=" for name in GateSettings.model_fields if name.startswith(word)]
    return []


def complete_scopes(context: click.Context, parameter: click.Parameter, word: str) -> list[str]:
    """The scopes of the local store, and of the last builds here with any backend."""
    kept = complete_kept_scopes(context, parameter, word)
    named = {"folder", "source"} & {name for name, value in context.params.items() if value}
    recent = [] if named else complete_recent_scopes(context, parameter, word)
    return [*dict.fromkeys((*kept, *recent))]


def complete_kept_scopes(
    context: click.Context, _parameter: click.Parameter, word: str
) -> list[str]:
    """The scopes of the local store."""
    with suppress(Exception):
        from bxcache.backends.location import choose_location  # noqa: PLC0415  # a shell waits

        chosen = context.params.get("folder") or context.params.get("source")
        store = choose_location(Path.cwd(), os.environ, chosen=chosen).store
        return [each for each in store.read_scopes() if each.startswith(word)]
    return []


def complete_recent_scopes(
    _context: click.Context, _parameter: click.Parameter, word: str
) -> list[str]:
    """The scopes of the last builds here, in any backend: no registry is asked."""
    with suppress(Exception):
        from bxcache.insight.recent_builds import Checkout, RecentHolder  # noqa: PLC0415  # a shell waits
        from bxcache.place.scope import Owner  # noqa: PLC0415  # as above

        here = Checkout(Path.cwd(), Owner.of_branch(None))
        scopes = RecentHolder(here, any_checkout=True).list_scopes()
        return [each for each in scopes if each.startswith(word)]
    return []


def complete_builders(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """The builders that somebody created."""
    from bxcache.buildx.instances import list_names  # noqa: PLC0415  # a shell waits

    return [each for each in list_names(os.environ) if each.startswith(word)]


def complete_targets(context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """The targets and groups of the bake files."""
    with suppress(Exception):
        from bxcache.buildx.driver import Docker  # noqa: PLC0415  # a shell waits

        files = [each for name in context.params.get("files") or () for each in ("--file", name)]
        targets = Docker.find().list_bake(files, Path.cwd())
        return [each for each in targets if each.startswith(word)]
    return []


def complete_sources(
    _context: click.Context, _parameter: click.Parameter, word: str
) -> list[CompletionItem]:
    """Folders, and the declared repositories."""
    found = [CompletionItem(word, type="dir")]
    with suppress(Exception):
        from bxcache.place.trust import load_guarded  # noqa: PLC0415  # a shell waits

        backends = load_guarded(Path.cwd(), os.environ).config.cache.backends
        refs = [getattr(each, "ref", "") for each in backends]
        found += [CompletionItem(each) for each in refs if each and each.startswith(word)]
    return found
