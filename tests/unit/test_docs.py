"""The documentation is true: its links lead somewhere, and its snippets are valid."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path

import click
import jsonschema
import pytest
import yaml
from check_jsonschema import main as check_jsonschema  # type: ignore[import-untyped]
from click.testing import CliRunner
from markdown_it import MarkdownIt

from bxcache.cli.commands import COMMANDS, load_command
from bxcache.cli.main import split_extra
from bxcache.config.discovery import read_config_file
from bxcache.config.loading import check_file
from bxcache.config.schema import render_schema
from bxcache.pipeline.survey import CI_FILES
from tests.bootstrap import ROOT

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += [ROOT / "examples" / "README.md", ROOT / "SECURITY.md"]
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def list_fences(language: str) -> list[tuple[str, str]]:
    """Return the code blocks of a language in all pages, each with its page and line."""
    return [
        (f"{page.name}:{token.map[0] + 1}", token.content)
        for page in PAGES
        for token in MarkdownIt().parse(page.read_text())
        if token.type == "fence" and token.info == language and token.map
    ]


def list_links(page: Path) -> list[str]:
    """Return the destinations of all links and images of a page."""
    found = []
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            found += [str(target)] if target else []
    return found


def list_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the hosting site makes them."""
    names = (re.sub(r"[^\w -]", "", each.lower()) for each in _HEADING.findall(page.read_text()))
    return {name.replace(" ", "-") for name in names}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each relative link names a file of the repository, and each anchor a heading of its page."""
    for link in list_links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT)
        assert not anchor or anchor in list_anchors(target), link


def test_the_readme_is_short_and_names_every_page() -> None:
    """The README has at most 200 lines and links to each page of the documentation."""
    assert len(README.read_text().splitlines()) <= 200
    linked = {link.partition("#")[0] for link in list_links(README)}
    assert {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"} <= linked


def test_the_page_of_ci_systems_is_an_index() -> None:
    """docs/ci.md links to each page of docs/ci."""
    linked = {link.partition("#")[0] for link in list_links(ROOT / "docs" / "ci.md")}
    pages = {f"ci/{page.name}" for page in PAGES if page.parent.name == "ci"}
    assert {f"ci/{system}.md" for system in (*CI_FILES, "others")} == pages <= linked


def list_commands() -> list[tuple[str, tuple[str, ...]]]:
    """Return every command line of bxcache in a shell block, with where it is."""
    found = []
    for place, text in [*list_fences("sh"), *list_fences("console")]:
        for line in text.replace("\\\n", " ").splitlines():
            words = line.removeprefix("$ ")
            if words.startswith("bxcache "):
                found.append((place, tuple(shlex.split(words, comments=True)[1:])))
    return found


_END = re.compile(r"[|>;&]|\d?>>?")


@pytest.mark.parametrize(("place", "words"), list_commands(), ids=lambda each: str(each)[:60])
def test_every_command_line_is_valid(place: str, words: tuple[str, ...]) -> None:
    """Each command exists and has the options and arguments of the snippet."""
    end = next((at for at, word in enumerate(words) if _END.fullmatch(word)), len(words))
    own, _ = split_extra(words[:end])
    count = 2 if " ".join(own[:2]) in COMMANDS else 1
    path = " ".join(own[:count])
    assert path in COMMANDS, place
    command = load_command(path)
    command.make_context(path, list(own[count:]), parent=click.Context(click.Group("bxcache")))


def test_there_are_snippets() -> None:
    """Each language has snippets, or the tests of them would prove nothing."""
    assert len(list_commands()) > 30
    assert len(list_fences("toml")) >= 3
    assert list_fences("python")
    assert list_fences("yaml")


@pytest.mark.parametrize(("place", "text"), list_fences("toml"))
def test_every_config_is_valid(place: str, text: str, tmp_path: Path) -> None:
    """Each configuration is valid for bxcache and for the published schema."""
    path = tmp_path / "bxcache.toml"
    path.write_text(text)
    check_file(read_config_file(path))
    document = yaml.safe_load(render_schema())
    jsonschema.Draft7Validator(document).validate(tomllib.loads(text))
    assert place


@pytest.mark.parametrize(("place", "text"), list_fences("python"))
def test_every_program_is_python(place: str, text: str) -> None:
    """Each Python snippet is a program."""
    assert ast.parse(text, place).body


@pytest.mark.parametrize(
    ("name", "schema", "right", "wrong"),
    [
        ("Bitbucket", "vendor.bitbucket-pipelines", "[docker]", "docker"),
        ("Woodpecker", "vendor.woodpecker-ci", "steps:", "stepz:"),
        ("Drone", "vendor.drone-ci", "steps:", "stepz:"),
        ("Travis", "vendor.travis", "language: python", "language: parseltongue"),
    ],
)
def test_every_other_system_has_a_valid_job(
    name: str, schema: str, right: str, wrong: str, tmp_path: Path
) -> None:
    """Each job of docs/ci/others.md is valid by its system's schema; a changed word is not."""
    page = (ROOT / "docs" / "ci" / "others.md").read_text()
    text = page.partition(f"## {name}\n")[2].partition("```yaml\n")[2].partition("```\n")[0]
    for content, status in ((text, 0), (text.replace(right, wrong), 1)):
        (tmp_path / "job.yml").write_text(content)
        words = ["--builtin-schema", schema, str(tmp_path / "job.yml")]
        checked = CliRunner().invoke(check_jsonschema, words)
        assert checked.exit_code == status, checked.output


@pytest.mark.parametrize(("place", "text"), list_fences("yaml"))
def test_every_workflow_is_yaml(place: str, text: str) -> None:
    """Each YAML snippet is YAML."""
    assert yaml.safe_load(text), place
