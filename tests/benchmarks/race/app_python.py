"""The race's application in Python: wheels from pip, byte code, pages and tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tests.benchmarks.race.application import START, Application
from tests.benchmarks.race.commits import Commit

PACKAGES = ("python3", "python3-pip")
"""Of the base images, from Debian."""
WHEELS = (
    *("django==5.1.4", "asgiref==3.8.1", "sqlparse==0.5.3", "pygments==2.19.1", "mpmath==1.3.0"),
    *("pytest==8.3.4", "iniconfig==2.0.0", "pluggy==1.5.0", "packaging==24.2"),
)
"""All of them are of Python alone, and fit every version of it."""
BUILD, SLIM = "python-build", "python"
_PIP = "python3 -m pip install --no-index --find-links /wheels --no-compile --no-deps"
_DOCKERFILE = f"""\
FROM {{bases}}/{BUILD}:stable AS deps
WORKDIR /srv
COPY requirements.txt .
RUN {_PIP} --target /deps -r requirements.txt
RUN python3 -m compileall -q /deps
FROM deps AS app
ENV PYTHONPATH=/deps
COPY src src
RUN python3 -m compileall -q src
RUN python3 src/pages.py /out {{pages}}
FROM deps AS test
COPY test-requirements.txt .
RUN {_PIP} --target /tools -r test-requirements.txt
COPY src src
COPY tests tests
RUN PYTHONPATH=/deps:/tools:src python3 -m pytest -q -p no:cacheprovider tests > /report
"""
_LATER = """\
FROM deps AS docs
COPY docs docs
RUN PYTHONPATH=/deps python3 -m pygments -f html -o /docs.html docs/guide.py
"""
_LAST = f"""\
FROM {{bases}}/{SLIM}:stable
ENV PYTHONPATH=/deps
COPY --from=deps /deps /deps
COPY --from=app /out /app
COPY --from=test /report /app/report
"""
_PAGES = """\
import pathlib
import sys

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

import names

EDIT = {edit}


def square(number):
    return number * number{fault}


def write(folder, pages):
    folder.mkdir(parents=True)
    source = pathlib.Path(__file__).read_text() * 20
    for number in range(pages):
        rows = [f"<p>{{names.NAME}} {{square(row)}}</p>" for row in range(300)]
        code = highlight(source, PythonLexer(), HtmlFormatter())
        (folder / f"{{number}}.html").write_text(f"<h1>{{number}}.{{EDIT}}</h1>{{rows}}{{code}}")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
"""
_TESTS = """\
import pages
import pytest
import sqlparse


@pytest.mark.parametrize("number", range(200))
def test_square(number):
    assert pages.square(number) == number**2
    assert sqlparse.format(f"select {number} from t where a = 1 and b = 2", reindent=True)
"""


def write(packages: Sequence[str], pages: int, commit: Commit) -> dict[str, str]:
    """Return the application's files at a commit.

    Args:
        packages: what it installs.
        pages: the number of pages that it renders, about six in a second.
        commit: the commit.
    """
    stages = _DOCKERFILE.replace("{pages}", str(pages))
    later = ("", "") if not commit.stage else (_LATER, "COPY --from=docs /docs.html /app/docs\n")
    last = f"{_LAST}{later[1]}COPY {START} /usr/local/bin/{START}\n"
    tail = f"RUN echo release {commit.tail} > /app/release && find /app | sort > /app/index\n"
    wanted = [*packages, *["mpmath"] * commit.dependencies]
    fault = " + 1" if commit.fails else ""
    return {
        "Dockerfile": stages + later[0] + last + tail,
        "requirements.txt": "\n".join([*wanted, ""]),
        "test-requirements.txt": "pytest\niniconfig\npluggy\npackaging\n",
        "src/pages.py": _PAGES.format(edit=commit.source, fault=fault),
        "src/names.py": f'NAME = "name {commit.other}"\n',
        "tests/test_pages.py": _TESTS,
        "docs/guide.py": "print('a guide')\n" * 300,
        START: "#!/bin/sh\nexec python3 -m http.server --directory /app\n",
    }


_STAGES = ("deps", "app", "test")
_ABOUT = "Python: packages from wheels, byte code, rendered pages, tests"
_FEW = ("sqlparse", "pygments")
PYTHON = Application(
    "python",
    _ABOUT,
    _STAGES,
    "docs",
    (BUILD, SLIM),
    partial(write, (*_FEW, "django", "asgiref"), 12),
)
SMALL_PYTHON = Application(
    "small python", f"{_ABOUT}, less of it", _STAGES, "docs", (BUILD, SLIM), partial(write, _FEW, 2)
)
