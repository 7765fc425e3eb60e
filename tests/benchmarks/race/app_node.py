"""The race's application in TypeScript: packages from npm, a bundle, tests, production packages."""

from __future__ import annotations

import json
import platform

from tests.benchmarks.race.application import START, Application
from tests.benchmarks.race.commits import Commit

PACKAGES = ("nodejs",)
"""Of the base images, from Debian."""
MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
ESBUILD = f"esbuild-linux-{MACHINES.get(platform.machine(), 'x64')}"
NPM = "npm@10.8.2"
FOR_ALL = {"dayjs": "1.11.13", "lodash": "4.17.21", "rxjs": "7.8.1", "tslib": "2.8.1"}
LATER = {"zod": "3.23.8"}
"""What the edit of the dependencies adds."""
FOR_WORK = {f"@esbuild/{ESBUILD.removeprefix('esbuild-')}": "0.24.0", "typescript": "5.6.3"}
TARBALLS = tuple(f"{name}@{version}" for name, version in {**FOR_ALL, **LATER, **FOR_WORK}.items())
BUILD, SLIM = "node-build", "node"
_NPM = "node /npm/package/bin/npm-cli.js install --offline --no-audit --no-fund --ignore-scripts"
_DOCKERFILE = f"""\
FROM {{bases}}/{BUILD}:stable AS deps
WORKDIR /srv
COPY package.json .
RUN {_NPM}
FROM deps AS build
COPY tsconfig.json .
COPY src src
RUN node_modules/typescript/bin/tsc --project .
RUN node_modules/@esbuild/{ESBUILD.removeprefix("esbuild-")}/bin/esbuild out/main.js \
    --bundle --minify --platform=node --outfile=/bundle.js
FROM build AS test
COPY tests tests
RUN node --test tests > /report
FROM {{bases}}/{BUILD}:stable AS production
WORKDIR /srv
COPY package.json .
RUN {_NPM} --omit=dev
"""
_LATER = """\
FROM deps AS docs
COPY docs docs
RUN node docs/make.js > /docs.html
"""
_LAST = f"""\
FROM {{bases}}/{SLIM}:stable
WORKDIR /srv
COPY --from=production /srv/node_modules node_modules
COPY --from=build /bundle.js .
COPY --from=test /report .
"""
_MAIN = """\
import dayjs from "dayjs";
import {{ chunk }} from "lodash";
import {{ from, map, reduce }} from "rxjs";
import {{ name }} from "./names";

export const edit = {edit};

export function square(value: number): number {{
  return value * value{fault};
}}

export function week(start: Date): string[] {{
  return [0, 1, 2, 3, 4, 5, 6].map((day) => dayjs(start).add(day, "day").toISOString());
}}

from(chunk([1, 2, 3, 4], 2))
  .pipe(map((pair: number[]) => square(pair[0])), reduce((a: number, b: number) => a + b, 0))
  .subscribe((sum: number) => console.log(name, edit, sum));
"""
_TEST = """\
const { test } = require("node:test");
const assert = require("node:assert");
const main = require("../out/main.js");

test("squares", () => {
  for (let value = 0; value < 1000; value++) assert.equal(main.square(value), value ** 2);
});

test("weeks", () => {
  for (let at = 0; at < 50000; at++) assert.equal(main.week(new Date(at * 1e7)).length, 7);
});
"""
_DOCS = """\
const pages = Array.from({ length: 2000 }, (_, page) => `<h1>page ${page}</h1>`);
console.log(pages.join("\\n"));
"""


def write(commit: Commit) -> dict[str, str]:
    """Return the application's files at a commit."""
    later = ("", "") if not commit.stage else (_LATER, "COPY --from=docs /docs.html .\n")
    last = f"{_LAST}{later[1]}COPY {START} /usr/local/bin/{START}\n"
    tail = f"RUN echo release {commit.tail} > release && find . | sort > index\n"
    fault = " + 1" if commit.fails else ""
    return {
        "Dockerfile": _DOCKERFILE + later[0] + last + tail,
        "package.json": _write_package(commit),
        "tsconfig.json": json.dumps(_SETTINGS),
        "src/main.ts": _MAIN.format(edit=commit.source, fault=fault),
        "src/names.ts": f'export const name = "name {commit.other}";\n',
        "tests/main.test.js": _TEST,
        "docs/make.js": _DOCS,
        START: "#!/bin/sh\nexec node /srv/bundle.js\n",
    }


_SETTINGS = {
    "compilerOptions": {
        "target": "es2020",
        "module": "commonjs",
        "moduleResolution": "node",
        "outDir": "out",
        "rootDir": "src",
        "strict": False,
        "noImplicitAny": False,
        "types": [],
        "esModuleInterop": True,
        "skipLibCheck": True,
    },
    "include": ["src"],
}


def _write_package(commit: Commit) -> str:
    wanted = {**FOR_ALL, **(LATER if commit.dependencies else {})}
    package = {
        "name": "race",
        "version": "1.0.0",
        "private": True,
        "dependencies": {name: _locate(name, version) for name, version in wanted.items()},
        "devDependencies": {name: _locate(name, version) for name, version in FOR_WORK.items()},
    }
    return json.dumps(package, indent=1)


def _locate(name: str, version: str) -> str:
    file = f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    return f"file:/tarballs/{file}"


NODE = Application(
    "node",
    "TypeScript: packages from npm, a bundle, tests, production packages",
    ("deps", "build", "test", "production"),
    "docs",
    (BUILD, SLIM),
    write,
)
