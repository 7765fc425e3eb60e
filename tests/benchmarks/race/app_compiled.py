"""The race's application in C: a library of some size, a program, its tests, a small image."""

from __future__ import annotations

from tests.benchmarks.race.application import START, Application
from tests.benchmarks.race.commits import Commit

PACKAGES = ("gcc", "libc6-dev", "make")
"""Of the base image that compiles, from Debian."""
BUILD, SMALL = "c-build", "small"
FILES, FUNCTIONS = 10, 80
"""The size of the library: each file takes about a second to compile."""
_DOCKERFILE = f"""\
FROM {{bases}}/{BUILD}:stable AS tools
WORKDIR /work
COPY Makefile .
RUN make --version > /versions && gcc --version >> /versions
FROM tools AS library
COPY library library
RUN make -j2 libnumbers.a
FROM tools AS program
COPY --from=library /work/libnumbers.a /work/library/numbers.h ./
COPY src src
RUN make -j2 program
FROM program AS test
COPY tests tests
RUN make -j2 checks && ./checks > /report
"""
_LATER = """\
FROM tools AS tool
COPY tool tool
RUN gcc -O2 -static -o /tool.out tool/tool.c
"""
_LAST = f"""\
FROM {{bases}}/{SMALL}:stable
COPY --from=program /work/program /usr/bin/program
COPY --from=test /report /report
"""
_MAKEFILE = """\
CFLAGS = -O2 -I. -Ilibrary -Isrc
LIBRARY = $(patsubst %.c,%.o,$(wildcard library/*.c))
PROGRAM = $(patsubst %.c,%.o,$(wildcard src/*.c))

libnumbers.a: $(LIBRARY)
\tar rcsD $@ $^

program: $(PROGRAM)
\t$(CC) -static -o $@ $^ libnumbers.a

checks: tests/checks.o
\t$(CC) -static -o $@ $^ libnumbers.a
"""
_FUNCTION = """\
unsigned f{number}(unsigned a, unsigned b)
{{
    unsigned table[16], sum = EDITION;
    for (unsigned i = 0; i < 16; i++) table[i] = a * (i + {number}) ^ b >> (i & 7);
    for (unsigned i = 0; i < 16; i++) switch ((table[i] + b) % 5) {{
        case 0: sum += table[i] * {number}u; break;
        case 1: sum ^= table[(i + 3) & 15] << 2; break;
        case 2: sum -= table[(i * 7) & 15] / ({number}u + 1); break;
        case 3: sum = sum << 5 | sum >> 27; break;
        default: sum += i;
    }}
    return sum;
}}
"""
_CHECKS = """\
#include <stdio.h>
#include "numbers.h"

int main(void)
{{
    unsigned sum = 0;
    for (unsigned i = 0; i < 20000000; i++) sum += f0(i, sum);
    printf("%u\\n", sum);
    return {status};
}}
"""
_MAIN = """\
#include <stdio.h>
#include "numbers.h"

unsigned other(unsigned);

int main(void)
{{
    printf("{edit} %u\\n", f1(other({edit}), 1));
    return 0;
}}
"""


def write(commit: Commit) -> dict[str, str]:
    """Return the application's files at a commit."""
    later = ("", "") if not commit.stage else (_LATER, "COPY --from=tool /tool.out /usr/bin/tool\n")
    last = f"{_LAST}{later[1]}COPY {START} /usr/bin/{START}\n"
    tail = f"RUN echo release {commit.tail} > /release && sha256sum /usr/bin/program > /sums\n"
    library = {f"library/part{part}.c": _write_part(part) for part in range(FILES)}
    return {
        "Dockerfile": _DOCKERFILE + later[0] + last + tail,
        "Makefile": _MAKEFILE,
        **library,
        "library/numbers.h": _write_header(commit.dependencies),
        "src/main.c": _MAIN.format(edit=commit.source),
        "src/other.c": f"unsigned other(unsigned a) {{ return a + {commit.other}u; }}\n",
        "tests/checks.c": _CHECKS.format(status=int(commit.fails)),
        "tool/tool.c": '#include <stdio.h>\nint main(void) { return puts("a tool") < 0; }\n',
        START: "#!/bin/sh\nexec program\n",
    }


def _write_part(part: int) -> str:
    numbers = range(part * FUNCTIONS, (part + 1) * FUNCTIONS)
    functions = (_FUNCTION.format(number=number) for number in numbers)
    return "\n".join(('#include "numbers.h"', *functions))


def _write_header(edition: int) -> str:
    names = (f"unsigned f{number}(unsigned, unsigned);" for number in range(FILES * FUNCTIONS))
    return "\n".join((f"#define EDITION {edition}u", *names, ""))


COMPILED = Application(
    "compiled",
    "C: a library, a program, its tests, a small image",
    ("tools", "library", "program", "test"),
    "tool",
    (BUILD, SMALL),
    write,
)
