"""The race's application in Python: wheels from pip, byte code, pages and tests."""

from __future__ import annotations

from tests.benchmarks.race.application import START, Application
from tests.benchmarks.race.commits import Commit

PACKAGES = ("python3", "python3-pip")
"""Of the base images, from Debian."""
WHEELS = (
    *("django==5.1.4", "asgiref==3.8.1", "sqlparse==0.5.3", "pygments==2.19.1", "mpmath==1.3.0"),
    *("sympy==1.13.3", "pytest==8.3.4", "iniconfig==2.0.0", "pluggy==1.5.0", "packaging==24.2"),
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
RUN python3 src/pages.py /out
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

import django
from django.conf import settings
from django.template import Context, Template
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

import names

EDIT = {edit}
PAGE = "<h1>{{{{ title }}}}</h1>{{% for row in rows %}}<p>{{{{ row|title }}}}</p>{{% endfor %}}"


def square(number):
    return number * number{fault}


def write(folder):
    settings.configure(TEMPLATES=[{{"BACKEND": "django.template.backends.django.DjangoTemplates"}}])
    django.setup()
    folder.mkdir(parents=True)
    page = Template(PAGE)
    source = pathlib.Path(__file__).read_text() * 20
    for number in range(8):
        rows = [f"{{names.NAME}} {{square(row)}}" for row in range(300)]
        text = page.render(Context({{"title": f"{{number}}.{{EDIT}}", "rows": rows}}))
        code = highlight(source, PythonLexer(), HtmlFormatter())
        (folder / f"{{number}}.html").write_text(text + code)


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
"""
_TESTS = """\
import pages
import pytest
import sqlparse


@pytest.mark.parametrize("number", range(400))
def test_square(number):
    assert pages.square(number) == number**2
    assert sqlparse.format(f"select {number} from t where a = 1 and b = 2", reindent=True)
"""


def write(commit: Commit) -> dict[str, str]:
    """Return the application's files at a commit."""
    later = ("", "") if not commit.stage else (_LATER, "COPY --from=docs /docs.html /app/docs\n")
    last = f"{_LAST}{later[1]}COPY {START} /usr/local/bin/{START}\n"
    tail = f"RUN echo release {commit.tail} > /app/release && find /app | sort > /app/index\n"
    wanted = ["django==5.1.4", "asgiref", "sqlparse", "pygments"]
    fault = " + 1" if commit.fails else ""
    return {
        "Dockerfile": _DOCKERFILE + later[0] + last + tail,
        "requirements.txt": "\n".join([*wanted, *["mpmath"] * commit.dependencies, ""]),
        "test-requirements.txt": "pytest\niniconfig\npluggy\npackaging\n",
        "src/pages.py": _PAGES.format(edit=commit.source, fault=fault),
        "src/names.py": f'NAME = "name {commit.other}"\n',
        "tests/test_pages.py": _TESTS,
        "docs/guide.py": "print('a guide')\n" * 300,
        START: "#!/bin/sh\nexec python3 -m http.server --directory /app\n",
    }


PYTHON = Application(
    "python",
    "Python: packages from wheels, byte code, rendered pages, tests",
    ("deps", "app", "test"),
    "docs",
    (BUILD, SLIM),
    write,
)
