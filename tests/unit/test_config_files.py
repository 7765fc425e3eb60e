"""Tests that configuration is found, merged, checked and shown."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bxcache.config.backends import SETTINGS
from bxcache.config.declaration import Declaration
from bxcache.config.discovery import find_config_file, read_config_file
from bxcache.config.loading import Setup, check_file, default_store, describe, load_setup
from bxcache.config.models import SECTIONS, Config, ImageSettings
from bxcache.config.problems import dotted, find_invalid
from bxcache.config.sources import Layer, Origin, Source
from bxcache.errors import ConfigError


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Make a folder that bxcache takes for a git work tree."""
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "deep" / "er").mkdir(parents=True)
    return tmp_path / "repo"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def sources(setup: Setup) -> dict[str, str]:
    return {key: str(source) for key, _, source in describe(setup)}


def values(setup: Setup) -> dict[str, Any]:
    return {key: value for key, value, _ in describe(setup)}


def problems(text: str, folder: Path) -> list[str]:
    path = write(folder / "bxcache.toml", text)
    with pytest.raises(ConfigError) as caught:
        check_file(read_config_file(path))
    return [f"{p.line}: {p.key}: {p.message}" for p in caught.value.problems]


def test_the_file_is_found_upwards(repo: Path) -> None:
    """The file is searched from the working directory up to the git root."""
    path = write(repo / "bxcache.toml", "[cache]\nstrict = true\n")
    setup = load_setup(repo / "deep" / "er", {})
    assert setup.file is not None
    assert setup.file.path == path
    assert setup.root == repo
    assert setup.config.cache.strict


def test_the_search_ends_at_the_git_root(repo: Path) -> None:
    """A file above the git root is ignored."""
    write(repo.parent / "bxcache.toml", "[cache]\nstrict = true\n")
    assert find_config_file(repo / "deep") is None


def test_without_git_only_the_working_directory_counts(tmp_path: Path) -> None:
    """Outside a git work tree, only the working directory is searched."""
    write(tmp_path / "bxcache.toml", "")
    (tmp_path / "sub").mkdir()
    assert find_config_file(tmp_path / "sub") is None
    assert find_config_file(tmp_path) is not None


def test_the_nearest_file_wins(repo: Path) -> None:
    """The nearest file counts, and in one folder `bxcache.toml` before `pyproject.toml`."""
    write(repo / "bxcache.toml", "")
    near = write(repo / "deep" / "pyproject.toml", "[tool.bxcache.cache]\nstrict = true\n")
    found = find_config_file(repo / "deep" / "er")
    assert found is not None
    assert found.path == near
    own = write(repo / "deep" / "bxcache.toml", "")
    found = find_config_file(repo / "deep" / "er")
    assert found is not None
    assert found.path == own


def test_a_pyproject_without_the_table_is_skipped(repo: Path) -> None:
    """A pyproject without `[tool.bxcache]` is skipped."""
    path = write(repo / "bxcache.toml", "")
    write(repo / "deep" / "pyproject.toml", "[project]\nname = 'x'\n# bxcache is great\n")
    found = find_config_file(repo / "deep")
    assert found is not None
    assert found.path == path


def test_the_table_of_a_pyproject_must_be_a_table(repo: Path) -> None:
    """A value in the place of `[tool.bxcache]` is an error, not a missing file."""
    write(repo / "pyproject.toml", "[tool]\nbxcache = 3\n")
    with pytest.raises(ConfigError, match=r"tool\.bxcache: must be a table"):
        find_config_file(repo)


def test_precedence_and_sources(repo: Path) -> None:
    """The precedence is default < file < environment < flag, and each value has its source."""
    write(
        repo / "bxcache.toml",
        "[build]\ntarget = 'file'\nnetwork = 'file'\nbuilder = 'file'\n\n"
        "[build.build_args]\nA = 'file'\nB = 'file'\n",
    )
    flags = Layer(
        {"build": {"target": "flag", "build_args": {"B": "flag"}}},
        {
            ("build", "target"): Source(Origin.FLAG, "--target"),
            ("build", "build_args", "B"): Source(Origin.FLAG, "--build-arg"),
        },
    )
    environment = {"BXCACHE_BUILD_TARGET": "env", "BXCACHE_BUILD_NETWORK": "env"}
    setup = load_setup(repo, environment, flags=flags)
    build = setup.config.build
    assert (build.target, build.network, build.builder) == ("flag", "env", "file")
    assert build.build_args == {"A": "file", "B": "flag"}
    found = sources(setup)
    path = str(repo / "bxcache.toml")
    assert found["build.target"] == "--target"
    assert found["build.network"] == "BXCACHE_BUILD_NETWORK"
    assert found["build.builder"] == f"{path}:4"
    assert found["build.build_args.A"] == f"{path}:7"
    assert found["build.build_args.B"] == "--build-arg"
    assert found["build.push"] == "default"


def test_an_image_takes_precedence_over_the_build_section(repo: Path) -> None:
    """An image's values take precedence over `[build]`, with the image's own lines as sources."""
    write(
        repo / "bxcache.toml",
        "[build]\nnetwork = 'none'\ntarget = 'a'\n"
        "[images.api]\ntarget = 'b'\nfile = 'api/Dockerfile'\n",
    )
    setup = load_setup(repo, {}, image="api")
    assert (setup.config.build.target, setup.config.build.network) == ("b", "none")
    assert sources(setup)["build.target"].endswith("bxcache.toml:5")
    assert sources(setup)["build.network"].endswith("bxcache.toml:2")


def test_an_empty_image_uses_the_build_section(repo: Path) -> None:
    """Empty tables in an image do not replace those of `[build]`."""
    text = "[build]\nfile = 'Containerfile'\nbuild_args = { A = '1' }\n"
    write(repo / "bxcache.toml", f"{text}[images.api]\n[images.web]\nbuild_args = {{}}\n")
    plain = load_setup(repo, {}).config.build
    assert plain.build_args == {"A": "1"}
    for image in ("api", "web"):
        assert load_setup(repo, {}, image=image).config.build == plain


def test_an_unknown_image_is_an_error_that_lists_the_known(repo: Path) -> None:
    """An unknown image is an error that lists the known ones."""
    write(repo / "bxcache.toml", "[images.api]\n[images.web]\n")
    with pytest.raises(
        ConfigError, match=r"`wev` is not declared in \[images\]; known: `api`, `web`"
    ):
        load_setup(repo, {}, image="wev")


def test_paths_are_relative_to_the_file(repo: Path) -> None:
    """Paths are relative to the file, from any working directory below it."""
    write(
        repo / "bxcache.toml",
        """
[build]
context = "."
file = "docker/Dockerfile"
[build.build_contexts]
base = "base"
remote = "docker-image://alpine"
git = "https://example.com/x.git"
[[cache.backends]]
type = "local"
dir = ".cache"
""",
    )
    build = load_setup(repo / "deep", {}).config.build
    assert Path(repo / "deep" / build.context).resolve() == repo
    assert Path(repo / "deep" / str(build.file)).resolve() == repo / "docker" / "Dockerfile"
    assert Path(repo / "deep" / build.build_contexts["base"]).resolve() == repo / "base"
    assert build.build_contexts["remote"] == "docker-image://alpine"
    assert build.build_contexts["git"] == "https://example.com/x.git"
    assert values(load_setup(repo, {}))["cache.backends[0].dir"] == str(repo / ".cache")
    assert load_setup(repo, {}).config.build.context == "."


def test_a_context_on_the_command_line_has_its_own_dockerfile(repo: Path) -> None:
    """`bxcache build api` builds `api/Dockerfile`, as docker does."""
    write(repo / "bxcache.toml", "[build]\nfile = 'Dockerfile'\n")
    flags = Layer({"build": {"context": "api"}})
    build = load_setup(repo, {}, flags=flags).config.build
    assert (build.context, build.file) == ("api", None)


@pytest.mark.parametrize(
    ("name", "text", "key", "expected"),
    [
        ("BXCACHE_CACHE_STRICT", "true", "cache.strict", True),
        ("BXCACHE_CACHE_STRICT", "0", "cache.strict", False),
        ("BXCACHE_CACHE_WRITE", "never", "cache.write", "never"),
        ("BXCACHE_BUILD_FILE", "x/Dockerfile", "build.file", "x/Dockerfile"),
        (
            "BXCACHE_BUILD_PLATFORMS",
            "linux/amd64,linux/arm64",
            "build.platforms",
            ["linux/amd64", "linux/arm64"],
        ),
        ("BXCACHE_BUILD_TAGS", '"a,b",c', "build.tags", ["a,b", "c"]),
        ("BXCACHE_BUILD_BUILD_ARGS", "A=1", "build.build_args.A", "1"),
        ("BXCACHE_GATE_MIN_HIT_RATIO", "0.8", "gate.min_hit_ratio", 0.8),
        ("BXCACHE_BUILD_TARGET", "", "build.target", None),
    ],
)
def test_variables_are_read(name: str, text: str, key: str, expected: object, repo: Path) -> None:
    """Variables are read as the type of their key, and an empty one counts as unset."""
    assert values(load_setup(repo, {name: text}))[key] == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("BXCACHE_CACHE_STRICT", "maybe", "BXCACHE_CACHE_STRICT: must be `true` or `false`"),
        ("BXCACHE_CACHE_WRITE", "nevr", "did you mean `never`?"),
        ("BXCACHE_GATE_MIN_HIT_RATIO", "lots", "must be a number from 0 to 1, not `lots`"),
        ("BXCACHE_GATE_MIN_HIT_RATIO", "7", "must be a number from 0 to 1, not `7`"),
        ("BXCACHE_BUILD_BUILD_ARGS", "A", "write each field as `key=value`"),
        ("BXCACHE_BUILD_BUILD_ARGS", '"A=1', "is not a comma-separated list"),
        ("BXCACHE_BUILD_TAGS", '"', "is not a comma-separated list"),
        ("BXCACHE_BUILD_TAGS", "a\nb", "is not a comma-separated list"),
        ("BXCACHE_CACHE_BACKENDS", '"type=local', "is not a comma-separated list"),
        ("BXCACHE_CACHE_BACKENDS", "type=locl", "did you mean `local`?"),
        ("BXCACHE_CACHE_BACKENDS", "local", "`key=value`, such as `type=local`"),
        ("BXCACHE_CACHE_BACKENDS", "inline,x", "such as `type=inline,ref=registry.example.com/"),
        ("BXCACHE_CACHE_BACKENDS", "r.io/app:x", "such as `type=registry,ref=r.io/app:x`"),
        ("BXCACHE_CACHE_BACKENDS", "u:p@r.io/app", "such as `type=local` or `type=registry,ref="),
        ("BXCACHE_CACHE_BACKENDS", "type=inline", "ref: is required, such as `registry."),
    ],
)
def test_a_wrong_variable_is_named(name: str, text: str, message: str, repo: Path) -> None:
    """An invalid variable is reported with its name and the valid values."""
    with pytest.raises(ConfigError) as caught:
        load_setup(repo, {name: text})
    assert name in str(caught.value)
    assert message in str(caught.value)


def test_backends_can_come_from_a_variable(repo: Path) -> None:
    """Backends are read from a variable in docker's syntax, separated by `;`."""
    text = "type=local,dir=/c,max-size=5GB;type=registry,ref=r.example.com/app,insecure=true"
    setup = load_setup(repo, {"BXCACHE_CACHE_BACKENDS": text})
    local, registry = setup.config.cache.backends
    assert (local.type, registry.type) == ("local", "registry")
    assert local.model_dump()["max_size"] == 5_000_000_000
    assert registry.model_dump()["insecure"] is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=inline,ref=r.io/app,stages=all,timeout=5m", ("all", 300, True)),
        ("type=inline,ref=r.io/app:main", ("final", 600, False)),
    ],
)
def test_an_inline_backend_can_come_from_a_variable(
    text: str, expected: tuple[str, int, bool], repo: Path
) -> None:
    """An inline backend from a variable may have a tag only if it keeps the final stage alone."""
    setup = load_setup(repo, {"BXCACHE_CACHE_BACKENDS": text})
    (found,) = setup.config.cache.backends
    values = found.model_dump()
    assert (values["stages"], values["timeout"], found.keeps_all) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=registry,ref=r.io/a;type=registry,ref=r.io/a", "repository is already declared"),
        ("type=registry,ref=r.io/a;type=inline,ref=r.io/a,stages=all", "is already declared"),
        ("type=inline,ref=r.io/a,stages=all;type=registry,ref=r.io/a", "is already declared"),
        ("type=inline,ref=r.io/a,stages=all;type=inline,ref=r.io/b:x", "one `inline` backend"),
        ("type=local,dir=/a;type=local,dir=/b", "one `local` backend"),
        ("type=registry,ref=r.io/a;type=registry,ref=r.io/a:x", ""),
        ("type=registry,ref=r.io/a;type=registry,ref=r.io/b", ""),
        ("type=registry,ref=r.io/a;type=inline,ref=r.io/a", ""),
        ("type=registry,ref=r.io/a;type=inline,ref=r.io/a:main", ""),
        ("type=registry,ref=r.io/a;type=inline,ref=r.io/b,stages=all", ""),
    ],
)
def test_no_two_backends_write_the_same_tags(text: str, expected: str, repo: Path) -> None:
    """Two backends that would write the same tags are an error."""
    environment = {"BXCACHE_CACHE_BACKENDS": text}
    if not expected:
        assert len(load_setup(repo, environment).config.cache.backends) == 2
        return
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load_setup(repo, environment)


def test_unknown_variables_are_noted(repo: Path) -> None:
    """An unknown variable is noted with a suggestion."""
    (note,) = load_setup(
        repo, {"BXCACHE_CACHE_STRIKT": "1", "BXCACHE_TEST_X": "1", "HOME": "/"}
    ).notes
    assert note == (
        "bxcache does not know the variable `BXCACHE_CACHE_STRIKT`; "
        "did you mean `BXCACHE_CACHE_STRICT`?"
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("min_hit_ratio = 1.5", "must be a number from 0 to 1, such as 0.8, not 1.5"),
        ("min_hit_ratio = '80%'", "must be a number such as 0.8, not a text"),
        ("max_seconds = inf", "must be a finite number"),
        ("max_size = '2 apples'", "is not a size"),
        ("max_seconds = 'soon'", "is not a duration; write it like `90s`"),
        ("require_cached = 'deps'", "must be a list"),
        ("warn = ['max_sise']", "max_size"),
        ("max_time = 3", "max_time"),
    ],
)
def test_an_invalid_gate_is_refused(repo: Path, line: str, problem: str) -> None:
    """An invalid gate is refused with its position and the valid values."""
    write(repo / "bxcache.toml", f"[gate]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_setup(repo, {})
    assert "bxcache.toml:2" in str(caught.value)
    assert problem in str(caught.value)


def test_all_problems_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    """All problems of a file are reported, each with line, key and valid values."""
    text = """\
[build]
file = 3
platfroms = ["linux/amd64"]
push = "yes"

[cache]
write = "alwys"

[[cache.backends]]
type = "local"
max-size = "5GB"
max_age = "5 parsec"

[[cache.backends]]
type = "inline"
ref = "r.example.com/app"
mode = "max"

[[cache.backends]]
type = "registry"
mode = "max"
compression = "zstd"
compression_level = 23

[[cache.backends]]
type = "s3"

[[cache.backends]]
ref = "r.example.com/app"

[[cache.backends]]
type = "local"

[gate]
min_hit_ratio = 2

[chace]
"""
    found = problems(text, tmp_path)
    expected = [
        ("2: build.file:", "must be a text in quotes, not a whole number"),
        ("3: build.platfroms:", "did you mean `platforms`?"),
        ("4: build.push:", "must be `true` or `false`, not a text"),
        ("7: cache.write:", "did you mean `always`?"),
        ("11: cache.backends[0].max-size:", "did you mean `max_size`?"),
        ("12: cache.backends[0].max_age:", "write it like `12h`"),
        ("17: cache.backends[1].mode:", "BuildKit ignores `mode` for an inline cache"),
        ("19: cache.backends[2].ref:", "is required"),
        ("21: cache.backends[2].mode:", "always exports every stage"),
        ("23: cache.backends[2].compression_level:", "zstd takes a level from 0 to 22"),
        ("25: cache.backends[3].bucket:", "is required"),
        ("28: cache.backends[4]:", "needs a `type`"),
        ("31: cache.backends[5]:", "only one `local` backend is allowed"),
        ("35: gate.min_hit_ratio:", "must be a number from 0 to 1, such as 0.8, not 2"),
        ("37: chace:", "did you mean `cache`?"),
    ]
    for (place, message), line in zip(
        expected, sorted(found, key=lambda f: int(f.split(":")[0])), strict=True
    ):
        assert place in line, found
        assert message in line, found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[build\n", "is not valid TOML"),
        ('\na = "x\n', r"^2: : is not valid TOML: .+ in column \d+$"),
        ("a = 1\na = 2\n", "is not valid TOML"),
        ("build = 3\n", "must be a table, not a whole number"),
        ("[cache]\nbackends = 'local'\n", "must be a list, not a text"),
        ("[cache]\nbackends = [1]\n", "a dictionary|must be a table"),
        ("[build]\ntags = [1]\n", "must be a text in quotes"),
        ("[build.build_args]\nA = 1\n", "must be a text in quotes"),
        ("[[cache.backends]]\ntype = 'registry'\nref = 'Team/App'\n", "lower case"),
        (
            "[[cache.backends]]\ntype = 'registry'\nref = 'r.io/a'\noci_mediatypes = false\n",
            "image_manifest = false",
        ),
        ("[[cache.backends]]\ntype = 'local'\nmax_size = 0\n", "more than zero"),
        ("[[cache.backends]]\ntype = 'local'\nmax_size = true\n", "integer|whole number"),
        (
            "[[cache.backends]]\ntype = 'inline'\nref = 'r.io/a:main'\nstages = 'all'\n",
            r"^4: cache.backends\[0\].stages: .*remove the tag from `r.io/a:main`",
        ),
        (
            "[[cache.backends]]\ntype = 'inline'\nref = 'r.io/a'\nstages = 'al'\n",
            "did you mean `all`",
        ),
        (
            "[[cache.backends]]\ntype = 'inline'\nref = 'r.io/a'\nmode = 'max'\n",
            'set `stages = "all"` to keep every stage',
        ),
        ("[[cache.backends]]\ntype = 'inline'\nstages = 'all'\n", "ref: is required"),
        ("x = " + "[" * 5000 + "]" * 5000, "nested|valid TOML|unknown"),
    ],
)
def test_a_problem_is_explained_in_plain_words(text: str, message: str, tmp_path: Path) -> None:
    """A problem is explained without pydantic's terms."""
    found = problems(text, tmp_path)
    assert any(re.search(message, line) for line in found), found


@pytest.mark.parametrize(
    ("text", "place", "variable"),
    [
        (
            "[[cache.backends]]\ntype = 'registry'\nref = '$CI_REGISTRY_IMAGE/cache'\n",
            "3: cache.backends[0].ref",
            "BXCACHE_CACHE_BACKENDS",
        ),
        ("[build]\ntags = ['app', '${IMAGE}']\n", "2: build.tags[1]", "BXCACHE_BUILD_TAGS"),
        ("[images.api]\npush = '$PUSH'\n", "2: images.api.push", "BXCACHE_BUILD_PUSH"),
        ("[gate]\nmax_size = '$MOST'\n", "2: gate.max_size", "BXCACHE_GATE_MAX_SIZE"),
    ],
)
def test_a_variable_in_a_file_is_answered_with_the_one_that_works(
    text: str, place: str, variable: str, tmp_path: Path
) -> None:
    """A value made wrong by a variable is answered with bxcache's own variable for the key."""
    why = "variables are not expanded in the config file"
    assert problems(text, tmp_path) == [f"{place}: {why}; `{variable}` in the job can have them"]


BAD = (-1, 1.5, math.inf, math.nan, 10**30, True, "", "x y", [1], ["x"], {"a": 1}, {"": "x"})
_MODELS: dict[str, type[Declaration]] = {**SECTIONS, "images": ImageSettings, **SETTINGS}
KEYS = [(part, name) for part, model in _MODELS.items() for name in model.model_fields]


def set_key(part: str, name: str, value: object) -> dict[str, Any]:
    """Return a document that sets one key of a section, an image or a backend."""
    if part in SETTINGS:
        return {"cache": {"backends": [{"type": part, "ref": "r.io/app", name: value}]}}
    return {part: {"api": {name: value}} if part == "images" else {name: value}}


@pytest.mark.parametrize(("part", "name"), KEYS)
def test_no_key_has_pydantics_words(part: str, name: str) -> None:
    """No wrong value of a key is explained in pydantic's own words, or at its own marks."""
    found = 0
    for bad in BAD:
        table = set_key(part, name, bad)
        try:
            Config.model_validate(table)
        except ValidationError as error:
            raw = {each["msg"].lower() for each in error.errors()}
            for place, message in find_invalid(table):
                found += 1
                assert message.lower() not in raw
                assert "[key]" not in dotted(place)
    assert found


def test_an_unreadable_file_is_one_problem(tmp_path: Path) -> None:
    """A folder, a missing file, a huge one, a huge number, or text not in UTF-8 is one problem."""
    (tmp_path / "dir.toml").mkdir()
    (tmp_path / "latin.toml").write_bytes(b"a = 1\nb = '\xe9'\n")
    (tmp_path / "huge.toml").write_bytes(b"#" * (1 << 21))
    (tmp_path / "digits.toml").write_text(f"[gate]\nmax_size = {'9' * 5000}\n")
    for name, message in {
        "dir.toml": "Is a directory",
        "none.toml": "No such file",
        "latin.toml": r"latin.toml:2: is not UTF-8",
        "huge.toml": "larger than 1 MiB",
        "digits.toml": "is not valid TOML",
    }.items():
        with pytest.raises(ConfigError, match=message):
            check_file(read_config_file(tmp_path / name))


def test_a_secret_is_not_in_an_error(tmp_path: Path) -> None:
    """An error does not repeat a value that may be a secret."""
    text = """
[build]
build_args = { TOKEN = ["hunter22"] }
[[cache.backends]]
type = "registry"
ref = "https://me:hunter22@r.example.com/app"
"""
    assert "hunter22" not in "\n".join(problems(text, tmp_path))


def test_without_a_file_each_project_has_a_local_store(repo: Path, tmp_path: Path) -> None:
    """Without a file, each project has its own local store in the user's cache folder."""
    setup = load_setup(repo / "deep", {})
    assert [backend.type for backend in setup.config.cache.backends] == ["local"]
    assert default_store(setup.root).parent == tmp_path / "xdg-cache" / "bxcache"
    assert default_store(setup.root) != default_store(repo.parent / "other" / "repo")
    assert default_store(setup.root).name.startswith("repo-")
    assert default_store(Path("/")).name.startswith("project-")
    assert default_store(Path("/srv/app\udcff")) != default_store(Path("/srv/app\udcfe"))


def test_loading_starts_no_process_and_writes_nothing(repo: Path, tmp_path: Path) -> None:
    """Loading the configuration does not start a process or write a file."""
    before = sorted(tmp_path.rglob("*"))
    load_setup(repo, {})
    assert sorted(tmp_path.rglob("*")) == before
    assert subprocess.Popen is not None
