"""Applications whose Dockerfiles have the shape of those of public projects, and edits of them.

Their base images and tools are replaced by busybox; which stages there are, what they copy, in
which order, and which variables they have is as in the Dockerfile that each one names.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from tests.real.rebuilds import write_base, write_files

Edit = Callable[["Application", Path, random.Random], tuple[str, ...]]


class Application(Struct, frozen=True):
    """An application.

    Attributes:
        dockerfile: its Dockerfile below the stage `base`.
        files: its files.
        lines: how the lines begin that edits may change.
        arguments: build arguments, used or not.
        removable: files without which it can be built.
        folders: folders whose mode may change.
        ignorable: patterns of files without which it can be built.
    """

    dockerfile: str
    files: tuple[str, ...]
    lines: tuple[str, ...]
    arguments: tuple[str, ...]
    removable: tuple[str, ...]
    folders: tuple[str, ...]
    ignorable: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write it to an empty folder."""
        write_base(folder, self.dockerfile)
        write_files(folder, self.files)


FIVE_STAGES = Application(
    dockerfile="""\
ARG FLAVOUR=plain
FROM base AS deps
ARG INDEX=main
COPY requirements.txt constraints.txt ./
RUN sort requirements.txt > /deps
FROM base AS assets
ENV THEME=dark
COPY assets /assets
RUN ls /assets > /listed
FROM base AS generated
COPY schema/*.sql /schema/
RUN cat /schema/*.sql | wc -l > /count
FROM base AS build
ARG FLAVOUR
ENV MODE=fast TARGET=app
COPY --from=deps /deps /deps
COPY --from=generated /count /count
COPY --chmod=755 $TARGET/main.py /main.py
RUN --mount=type=bind,source=tools,target=/tools cat /tools/* > /tooled
COPY app /app
RUN echo "$MODE" > /built
FROM base
COPY --from=build /built /built
COPY --link --from=assets /listed /listed
COPY start.sh ./
WORKDIR /home
RUN cat /built > /done
""",
    files=(
        *("requirements.txt", "constraints.txt", "start.sh", "notes.md"),
        *("assets/a.css", "assets/deep/b.css", "schema/one.sql", "schema/two.sql"),
        *("schema/readme", "app/main.py", "app/lib/x.py", "tools/lint", "tools/check"),
    ),
    lines=(
        *("RUN ls /assets", "ENV THEME", "ENV MODE", "ARG INDEX", "RUN cat /schema", "RUN --mount"),
        *("COPY app", "COPY start.sh", "WORKDIR", 'RUN echo "$MODE"', "RUN cat /built"),
        "COPY assets",
    ),
    arguments=("INDEX", "FLAVOUR", "UNUSED"),
    removable=("assets/a.css", "schema/two.sql", "app/lib/x.py", "notes.md"),
    folders=("assets", "app/lib"),
    ignorable=("**/*.css", "notes.md", "app/lib", "schema/readme"),
)
PUBLIC: dict[str, Application] = {
    # https://github.com/saleor/saleor/blob/0036578a1679c3347b3a07720c76bd9992a00a61/Dockerfile
    "saleor": Application(
        dockerfile="""\
FROM base AS packages
RUN echo gettext > /system
WORKDIR /app
RUN --mount=type=cache,mode=0755,target=/root/.cache/tool echo tool > /tool
COPY poetry.lock pyproject.toml /app/
RUN --mount=type=cache,mode=0755,target=/root/.cache/packages \\
  mkdir -p /site/packages /site/bin && \\
  cp /app/poetry.lock /site/packages/

FROM base
RUN mkdir -p /etc && echo "app:x:999" >> /etc/group
RUN echo libcairo2 > /system \\
  # libraries
  && echo libpango >> /system
RUN mkdir -p /app/media /app/static
COPY --from=packages /site/packages/ /usr/lib/packages/
COPY --from=packages /site/bin/ /usr/local/bin/
COPY . /app
WORKDIR /app
ARG STATIC_URL
ENV STATIC_URL=${STATIC_URL:-/static/}
RUN KEY=dummy STATIC_URL=${STATIC_URL} sh -c 'ls > /app/static/list; echo $STATIC_URL > /url'
EXPOSE 8000
ENV WORKERS=4
LABEL title="shop" \\
      description="a \\
shop"
CMD ["serve", "--workers", "${WORKERS}"]
""",
        files=(
            *("poetry.lock", "pyproject.toml", "manage.py", "README.md"),
            *("shop/__init__.py", "shop/orders/models.py", "templates/mail.html"),
        ),
        lines=(
            *(
                "RUN echo gettext",
                "WORKDIR /app",
                "COPY poetry",
                "RUN mkdir -p /app",
                "ENV WORKERS",
            ),
            *("RUN KEY", "COPY .", "COPY --from=packages /site/bin"),
        ),
        arguments=("STATIC_URL", "COMMIT"),
        removable=("README.md", "templates/mail.html", "shop/orders/models.py"),
        folders=("shop", "templates", "shop/orders"),
        ignorable=("README.md", "**/*.html", "shop/orders"),
    ),
    # https://github.com/go-gitea/gitea/blob/03173b39ec924c76181370dd3c0dee3e75f6333a/Dockerfile
    "gitea": Application(
        dockerfile="""\
FROM base AS build-env
ENV GOPATH=/go
ARG RELEASE=main
ARG TAGS="sqlite unlock"
ENV TAGS="bindata $TAGS"
ENV NODE_OPTIONS="--legacy"
RUN echo update && \\
    echo upgrade
RUN echo git nodejs > /tools
COPY . ${GOPATH}/src/app
WORKDIR ${GOPATH}/src/app
RUN if [ -n "${RELEASE}" ]; then echo "$RELEASE" > version; fi \\
 && echo "$TAGS" > app
FROM base
LABEL maintainer="someone"
EXPOSE 22 3000
RUN echo bash > /bash
RUN echo certificates > /certificates
RUN mkdir -p /etc && \\
  echo git >> /etc/group && \\
  echo git >> /etc/passwd
ENV USER=git
ENV CUSTOM=/data/app
VOLUME ["/data"]
ENTRYPOINT ["/usr/bin/entrypoint"]
CMD ["/bin/scan", "/etc"]
COPY docker/root /
COPY --from=build-env /go/src/app/app /app/app
RUN mkdir -p /usr/local/bin && ln -s /app/app /usr/local/bin/app
""",
        files=(
            *("main.go", "go.mod", "go.sum", "models/user.go", "web/index.js"),
            *("docker/root/etc/app.ini", "docker/root/usr/bin/entrypoint"),
        ),
        lines=(
            *("RUN echo update", "RUN echo git", "ENV NODE_OPTIONS", "ENV CUSTOM", "RUN echo bash"),
            *("COPY . ", "COPY docker", "RUN if", "ARG RELEASE", "RUN mkdir -p /usr"),
        ),
        arguments=("RELEASE", "TAGS", "UNUSED"),
        removable=("models/user.go", "web/index.js", "docker/root/etc/app.ini"),
        folders=("models", "docker/root/etc", "docker"),
        ignorable=("web", "**/*.go", "docker/root/etc", "go.sum"),
    ),
    # https://github.com/grafana/grafana/blob/0014fb6402029aa07f258cb103e8f52c705ad4e8/Dockerfile
    "grafana": Application(
        dockerfile="""\
FROM base
WORKDIR $GOPATH/src/app
COPY go.mod go.sum ./
COPY vendor vendor
RUN cat go.mod > verified
COPY pkg pkg
COPY build.go build.go
COPY package.json package.json
RUN mkdir -p /out && cat build.go > /out/server && cat package.json > /out/cli

FROM base
WORKDIR /usr/src/app/
COPY package.json yarn.lock ./
COPY packages packages
RUN cat yarn.lock > installed
COPY Gruntfile.js tsconfig.json ./
COPY public public
COPY scripts scripts
ENV NODE_ENV=production
RUN mkdir -p tools && ls public > tools/list

FROM base
ARG APP_UID="472"
ARG APP_GID="472"
ENV PATHS_CONFIG="/etc/app/app.ini" \\
    PATHS_HOME="/usr/share/app"
WORKDIR $PATHS_HOME
RUN echo fonts > /fonts
COPY conf ./conf
RUN mkdir -p "$PATHS_HOME/.aws" /etc/app && \\
    cp "$PATHS_HOME/conf/sample.ini" "$PATHS_CONFIG" && \\
    chown -R "$APP_UID:$APP_GID" "$PATHS_HOME/.aws"
COPY --from=1 /out/server /out/cli ./bin/
COPY --from=2 /usr/src/app/public ./public
COPY --from=2 /usr/src/app/tools ./tools
COPY tools/render.js ./tools/render.js
EXPOSE 3000
COPY ./packaging/docker/run.sh /run.sh
RUN chmod 755 /run.sh
ENTRYPOINT [ "/run.sh" ]
""",
        files=(
            *("go.mod", "go.sum", "vendor/lib.go", "pkg/api/api.go", "pkg/main.go", "build.go"),
            *("package.json", "yarn.lock", "packages/ui/index.ts", "Gruntfile.js", "tsconfig.json"),
            *("public/app.ts", "public/img/logo.svg", "scripts/build.sh", "conf/sample.ini"),
            *("conf/ldap.toml", "tools/render.js", "packaging/docker/run.sh"),
        ),
        lines=(
            *(
                "COPY vendor",
                "RUN cat go.mod",
                "COPY package.json yarn",
                "ENV NODE_ENV",
                "RUN echo",
            ),
            *("RUN mkdir -p tools", "COPY conf", "COPY tools", "RUN chmod", "WORKDIR /usr"),
            *("COPY scripts", "ARG APP_UID", "RUN cat yarn"),
        ),
        arguments=("APP_UID", "APP_GID", "COMMIT"),
        removable=("pkg/api/api.go", "public/img/logo.svg", "conf/ldap.toml", "vendor/lib.go"),
        folders=("pkg", "public", "conf", "packages/ui", "vendor"),
        ignorable=("public/img", "**/*.toml", "pkg/api", "packages"),
    ),
    # https://github.com/mastodon/mastodon/blob/00297341af4ac8226753b1b82efff5df8f3c4d1b/Dockerfile
    "mastodon": Application(
        dockerfile="""\
ARG BASE_IMAGE="base"
ARG UID="991"
ARG APP_HOME="/opt/app"
ARG ZONE="Etc/UTC"
ARG PRERELEASE=""
ARG RAILS_ENV="production"
ARG BIND="0.0.0.0"
FROM base AS runtime
ARG TARGETPLATFORM
ARG UID
ARG APP_HOME
ARG ZONE
ARG RAILS_ENV
RUN \\
    --mount=type=cache,id=${TARGETPLATFORM}-/var/cache,target=/var/cache,sharing=locked \\
    --mount=type=tmpfs,target=/var/log \\
    set -eu; \\
    # people
    mkdir -p /etc "${APP_HOME}"; \\
    echo "app:${UID}" > /etc/passwd; \\
    case "${RAILS_ENV}" in \\
        development) echo test;; \\
        production) echo development test;; \\
    esac;
ENV APP_HOME="${APP_HOME}" \\
    ZONE="${ZONE}" \\
    RAILS_ENV="${RAILS_ENV}"
WORKDIR ${APP_HOME}

FROM runtime AS builder
ARG TARGETPLATFORM
RUN --mount=type=cache,id=${TARGETPLATFORM}-/var/cache,target=/var/cache,sharing=locked \\
    echo gcc > /compiler

FROM builder AS gems
ARG TARGETPLATFORM
ADD Gemfile* ${APP_HOME}/
RUN mkdir -p vendor/bundle && sort Gemfile > vendor/bundle/list

FROM builder AS modules
ADD package.json yarn.lock ${APP_HOME}/
RUN set -eu; \\
    mkdir node_modules; \\
    cat yarn.lock > node_modules/list

FROM runtime
ARG BIND
ARG PRERELEASE
COPY --link . ${APP_HOME}
COPY --link --from=gems ${APP_HOME}/vendor/bundle ${APP_HOME}/vendor/bundle
COPY --link --from=modules ${APP_HOME}/node_modules ${APP_HOME}/node_modules
RUN set -eu; \\
    mkdir -p ${APP_HOME}/tmp && chmod 1777 ${APP_HOME}/tmp;
ENV BIND="${BIND}" \\
    PRERELEASE="${PRERELEASE}"
USER 991
RUN echo "$PRERELEASE" > tmp/precompiled
ENTRYPOINT ["/usr/bin/tini", "--"]
EXPOSE 3000 4000
""",
        files=(
            *("Gemfile", "Gemfile.lock", "package.json", "yarn.lock", "README.md"),
            *("app/models/user.rb", "app/views/home.erb", "config/app.yml"),
        ),
        lines=(
            *("ARG UID=", "ARG ZONE=", "ADD Gemfile", "RUN mkdir -p vendor", "ADD package"),
            *("RUN echo", "ENV BIND", "COPY --link . ", "ARG RAILS_ENV="),
        ),
        arguments=("UID", "ZONE", "PRERELEASE", "BIND", "RAILS_ENV", "UNUSED"),
        removable=("README.md", "app/views/home.erb", "config/app.yml"),
        folders=("app", "app/models", "config"),
        ignorable=("README.md", "config", "**/*.erb"),
    ),
}


def write_file(app: Application, folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Change the content of a file."""
    path = folder / chance.choice(app.files)
    if path.exists():
        path.write_text(f"{chance.random()}\n")
    return ()


def add_file(app: Application, folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Add a file beside another one."""
    beside = folder / chance.choice(app.files)
    (beside.parent / f"new{chance.randrange(99)}{beside.suffix}").write_text("new")
    return ()


def remove_file(app: Application, folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Remove a file that no instruction names."""
    (folder / chance.choice(app.removable)).unlink(missing_ok=True)
    return ()


def change_mode(app: Application, folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Change the mode of a file or a folder."""
    path = folder / chance.choice([*app.files, *app.folders])
    if path.exists():
        path.chmod(chance.choice([0o700, 0o755, 0o711]))
    return ()


def touch(app: Application, folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Change nothing that counts."""
    path = folder / chance.choice(app.files)
    if path.exists():
        path.touch()
    return ()


def edit_line(app: Application, folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Edit an instruction: a comment above it, its words, or all of it."""
    file, head = folder / "Dockerfile", chance.choice(app.lines)
    lines = file.read_text().splitlines()
    at = next((n for n, line in enumerate(lines) if line.startswith(head)), None)
    if at is None:
        return ()
    how = chance.randrange(4)
    if how == 0:
        lines.insert(at, "# a comment")
    elif how == 1 and head.startswith("RUN") and not lines[at].endswith("\\"):
        lines[at] += f" && echo {chance.randrange(99)}"
    elif how == 2 and head.startswith(("ENV", "ARG")) and lines[at][-1].isalnum():
        lines[at] += f"{chance.randrange(99)}"
    elif how == 3 and head.startswith("RUN"):
        lines.insert(at, f"RUN echo {chance.randrange(99)} > /inserted")
    file.write_text("\n".join([*lines, ""]))
    return ()


def give_argument(app: Application, folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Give a build argument, which may be unused."""
    del folder
    return ("--build-arg", f"{chance.choice(app.arguments)}={chance.randrange(999)}")


def ignore(app: Application, folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Exclude some files."""
    with (folder / ".dockerignore").open("a") as file:
        file.write(f"{chance.choice(app.ignorable)}\n")
    return ()


EDITS: tuple[Edit, ...] = (
    *(write_file, add_file, remove_file, change_mode, touch, edit_line, give_argument, ignore),
)
