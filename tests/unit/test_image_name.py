"""Tests of the names of images that the configuration does not name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bxcache.place.image_name import name_image
from bxcache.place.scope import Scope

ROOT = Path("/p")


def name(context: str, file: str | None = None) -> str:
    return name_image(ROOT, ROOT, context, file)


@pytest.mark.parametrize(
    ("context", "file", "expected"),
    [
        (".", None, "image"),
        (".", "Dockerfile", "image"),
        (".", "-", "image"),
        ("api", None, "api"),
        ("services/api", None, "services/api"),
        ("api", "api/Dockerfile", "api"),
        ("api", "api/web.Dockerfile", "api/web.Dockerfile"),
        (".", "docker/Dockerfile", "docker"),
        (".", "docker/web.Dockerfile", "docker/web.Dockerfile"),
        ("api", "docker/Dockerfile", "docker/Dockerfile/api"),
    ],
)
def test_an_image_is_named_by_its_dockerfiles_place(
    context: str, file: str | None, expected: str
) -> None:
    """The name is the same wherever the project is checked out."""
    for root in (Path("/work/one"), Path("/home/x/other-name")):
        assert name_image(root, root, context, file) == expected


def test_a_name_does_not_depend_on_the_working_directory() -> None:
    """`bxcache build .` in a folder gives the same name as `bxcache build folder` above it."""
    assert name_image(ROOT, ROOT / "api", ".", None) == name_image(ROOT, ROOT, "api", None) == "api"


@pytest.mark.parametrize(
    "runs",
    [
        [(".", "/tmp/tmp.CIGxYy3Tp4/Dockerfile"), (".", "/tmp/tmp.b6Sp0xvTzC/Dockerfile")],
        [(".", "/tmp/tmp.CIGxYy3Tp4"), (".", "../Dockerfile.b6Sp0xvTzC")],
        [("/tmp/a1", None), ("/var/tmp/b2", None), ("/tmp/c3", "/tmp/c3/x"), ("/a", "/b/c")],
        [("/tmp/a1", "docker/web.Dockerfile"), ("/tmp/b2", "/p/docker/web.Dockerfile")],
        [("api", "/tmp/a1/Dockerfile"), ("./api/", "/tmp/b2/web.Dockerfile")],
    ],
)
def test_a_path_outside_of_the_project_is_not_in_the_name(
    runs: list[tuple[str, str | None]],
) -> None:
    """A path outside the project may differ in each run, so it is not in the name."""
    assert len({name(*run) for run in runs}) == 1


def test_the_part_inside_of_the_project_is_in_the_name() -> None:
    """Different contexts or Dockerfiles of the project give different names."""
    runs = [(".", "/t/D"), ("api", "/t/D"), ("/t", "api/D"), ("/t", "web/D"), ("api", None)]
    runs += [(".", "Dockerfile"), ("/t", "Dockerfile"), ("image", None)]
    assert len({name(*run) for run in runs}) == len(runs)


def test_a_link_into_the_project_is_inside(tmp_path: Path) -> None:
    """A link to the project counts as inside, as `/tmp` does on a Mac."""
    (tmp_path / "real" / "api").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    root = tmp_path / "real"
    assert name_image(root, root, str(tmp_path / "link" / "api"), None) == "api"


# The forms that BuildKit accepts: https://docs.docker.com/build/concepts/context/#git-repositories
# and its tests, util/gitutil/git_url_test.go.
REPOSITORY = [
    "https://github.com/docker/buildx.git",
    "https://github.com/docker/buildx.git/",
    "https://github.com/docker/buildx.git#v0.29.1",
    "https://github.com/docker/buildx.git#461836ba3f7e4a9f1e1a7c6c6a0c7bd0a1b2c3d4:",
    "https://github.com/docker/buildx.git?ref=v0.29.1",
    "https://github.com/docker/buildx.git?branch=main&checksum=461836ba",
    "https://github.com/docker/buildx.git#refs/pull/7/head",
    "https://GitHub.com:443/docker/buildx.git",
    "https://x-access-token:ghs_secret@github.com/docker/buildx.git#main",
    "http://github.com/docker/buildx",
    "git://github.com/docker/buildx.git",
    "ssh://git@github.com/docker/buildx.git",
    "ssh://git@github.com:22/docker/buildx.git#main:.",
    "git@github.com:docker/buildx.git",
    "git@github.com:docker/buildx.git#main:/",
    "github.com/docker/buildx",
    "github.com/docker/buildx.git#v0.29.1",
]


@pytest.mark.parametrize("url", REPOSITORY)
def test_a_repository_has_one_name(url: str) -> None:
    """The name contains no commit, protocol, user or secret."""
    assert name(url) == name(url, "Dockerfile") == name(url, "-") == "//github.com/docker/buildx"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("https://github.com/docker/buildx.git#v1:hack/tool", None),
        ("git@github.com:docker/buildx.git#v2:/hack/tool/", None),
        ("github.com/docker/buildx.git?ref=v3&subdir=hack/tool", None),
        ("https://github.com/docker/buildx.git?subdir=hack%2Ftool", "Dockerfile"),
        ("https://github.com/docker/buildx.git", "hack/./tool/Dockerfile"),
    ],
)
def test_the_folder_in_a_repository_is_in_the_name(url: str, file: str | None) -> None:
    """The name contains the folder in the repository, from the URL or the Dockerfile."""
    assert name(url, file) == "//github.com/docker/buildx//hack/tool"


def test_different_remote_contexts_have_different_names() -> None:
    """Another host, port, repository, folder or Dockerfile gives another name."""
    base = "https://git.example.com/a.git"
    runs = [(base, None), (base, "web.Dockerfile"), (base, "/t/D"), (base, "/p/D"), (base, "p/D")]
    runs += [(f"{base}#x:a", None), (f"{base}#x:b", None), (f"{base}#x:a", "web.Dockerfile")]
    runs += [(each, None) for each in ("https://git.example.com/b.git", "https://h/x.tar", "-")]
    runs += [("https://git.example.com:8443/a.git", None), ("stdin", None), ("remote/a", None)]
    assert len({name(*run) for run in runs}) == len(runs)


def test_a_url_signature_is_not_in_the_name() -> None:
    """A URL's signature differs in each run, so it is not in the name."""
    urls = [f"https://s3.example.com/app.tar?X-Amz-Signature={each}" for each in ("ab", "cd")]
    assert len({name(url) for url in urls}) == 1


def test_a_dockerfile_from_a_url_is_outside() -> None:
    """A Dockerfile that docker fetches counts as outside the project."""
    assert name(".", "https://h.example.com/1/D") == name(".", "https://h.example.com/2/D")
    assert name(".", "https://h.example.com/1/D") == name(".", "/tmp/D")


@pytest.mark.parametrize("text", ["https://[", "https://", "git@", "//", "#", "https://a?subdir=%"])
def test_every_context_has_a_name(text: str) -> None:
    """Any context has a valid name; docker reports an invalid context."""
    assert re.fullmatch(r"[A-Za-z0-9_][\w.-]*", Scope(name(text), None, ("linux/amd64",)).name)
