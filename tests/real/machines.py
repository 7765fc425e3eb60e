"""A machine as a build sees it: an engine, perhaps another builder, and bxcache."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bxcache.buildx.stream.raw import join_documents
from tests.engines.confinement import directly, dressed
from tests.real.warm import find_warm

if TYPE_CHECKING:
    from tests.engines import DockerClient, Login

LONGEST_RUN = 300.0
HELPER = "test"
HELPER_SCRIPT = """\
#!/bin/sh
# A credential helper of docker that knows one registry.
read -r registry || :
echo "$1 $registry" >> "$0.calls"
case "$1 $registry" in
    "get {address}")
        printf '{{"ServerURL":"%s","Username":"%s","Secret":"%s"}}\\n' \
            '{address}' '{user}' '{password}'
        ;;
    "get "*)
        echo "credentials not found in native keychain"
        exit 1
        ;;
    "list "*)
        printf '{{"%s":"%s"}}\\n' '{address}' '{user}'
        ;;
esac
"""

# A docker whose first build reports that two nodes of its builder met in one layout, in the words
# observed where that fails the build, and where it fails only the export.
MET = """\
#!/bin/sh
case "$* $(cat {folder}/count)" in
    "buildx b"*" --metadata-file "*" first")
        echo second > {folder}/count
        if [ {how} = build ]; then
            echo "ERROR: failed to build: could not lock {folder}/index.json.lock" >&2
            exit 1
        fi
        {docker} "$@"
        status=$?
        echo '{vertex}' >&2
        exit $status;;
esac
exec {docker} "$@"
"""
# A docker after whose first run with some words a command follows.
FOLLOWED = """\
#!/bin/sh
{docker} "$@"
status=$?
case "$*" in
    {words}) mkdir {folder}/followed 2>/dev/null && {command};;
esac
exit $status
"""
# A docker whose bakes of several targets leave out the inline caches, as BuildKit does by chance.
FORGETS = """\
#!/bin/sh
case "$*" in
    "buildx bake "*" stage-1"*) sed '/"cache-to": \\[/,/\\]/d' | {docker} "$@";;
    *) exec {docker} "$@";;
esac
"""
# A docker that creates builders with these options: there is no network to pull an image from.
OPTIONS = """\
#!/bin/sh
case "$*" in
    "buildx create "*) shift 2; exec {docker} buildx create --driver-opt {options} "$@";;
esac
exec {docker} "$@"
"""
FAILED_EXPORT = {
    "digest": f"sha256:{'0' * 64}",
    "name": "exporting cache to client directory",
    "started": "2026-01-01T00:00:00Z",
    "completed": "2026-01-01T00:00:01Z",
    "error": "error writing layer blob: rename /s/ingest/ab/t: no such file or directory",
}
# The words observed where BuildKit had not ended a failed build whose cache was to be saved.
LOST = "failed to commit ab to cd during finalize: snapshot ab does not exist: not found"


@dataclass(frozen=True)
class Machine:
    """A machine to run bxcache on.

    Attributes:
        engine: its docker.
        builder: its own builder, or empty for the engine's.
        home: where bxcache keeps its default store.
        etc: the files that bxcache and docker see in /etc before the machine's own.
        bundle: the certificates that they trust, or those of the system.
        settings: docker's own settings, or the engine's.
    """

    engine: DockerClient
    home: Path
    builder: str = ""
    etc: Path | None = None
    bundle: Path | None = None
    settings: Path | None = None

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a process on this machine."""
        own = {"BUILDX_BUILDER": self.builder} if self.builder else {}
        known = {**self.engine.environment(), "XDG_CACHE_HOME": str(self.home), **own}
        if self.bundle:
            known["SSL_CERT_FILE"] = str(self.bundle)
        if self.settings:
            known["DOCKER_CONFIG"] = str(self.settings)
            known["PATH"] = f"{self.settings / 'bin'}:{known['PATH']}"
        if self.etc:
            known = directly(known, (".test",))
        return {**known, **more}

    def command(self, *words: str) -> list[str]:
        """Return the command that runs these words on this machine."""
        return dressed(self.etc, words) if self.etc else list(words)

    def start(self, *arguments: str, folder: Path, **more: str) -> subprocess.Popen[str]:
        """Start bxcache without waiting for its end."""
        return subprocess.Popen(
            self.command(sys.executable, "-m", "bxcache", *arguments),
            cwd=folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, folder: Path, status: int = 0, **more: str) -> Ran:
        """Run bxcache to its end and check its exit status."""
        warm = find_warm()
        if warm and not self.etc:
            done = warm.run(arguments, folder, self.environment(**more), LONGEST_RUN)
            code, out, err = done.returncode, done.stdout, done.stderr
        else:
            with self.start(*arguments, folder=folder, **more) as process:
                out, err = process.communicate(timeout=LONGEST_RUN)
            code = process.returncode
        assert code == status, f"exit {code}\n{out}\n{err}"
        print(*arguments, err, sep="\n")  # pytest shows it if the test fails
        return Ran(out, err)

    def build(self, *arguments: str, folder: Path, status: int = 0, **more: str) -> dict[str, Any]:
        """Run `bxcache build --json` and return its document."""
        words = ("build", "--json", "--network", "none", *arguments)
        ran = self.run(*words, folder=folder, status=status, **more)
        document: dict[str, Any] = json.loads(ran.out)
        assert document["exit_status"] == status or status not in (0, 1), ran.err
        return document

    def raw(
        self, *arguments: str, folder: Path, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run plain `docker buildx build`, without bxcache."""
        build = ("buildx", "build", "--network", "none", *arguments)
        return self.docker(*build, folder=folder, check=check)

    def list_cached(self, source: str, folder: Path) -> set[str]:
        """Return the vertices of the steps that plain buildx finds in a cache.

        They come from the raw stream: the plain output does not always show a step as cached that
        BuildKit fetches at once.

        Args:
            source: the cache, as `--cache-from` has it.
            folder: the build context.
        """
        done = self.raw("--progress", "rawjson", "--cache-from", source, ".", folder=folder)
        lines = join_documents(done.stderr.splitlines())
        documents = (json.loads(line) for line in lines if line.startswith("{"))
        told = [vertex for each in documents for vertex in each.get("vertexes") or ()]
        failed = {vertex["digest"] for vertex in told if vertex.get("error")}
        steps = (each for each in told if re.match(r"\[[^]]+/\d+\] (?:COPY|RUN)", each["name"]))
        return {each["digest"] for each in steps if each.get("cached")} - failed

    def docker(
        self, *arguments: str, folder: Path, check: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run plain docker, without bxcache."""
        done = subprocess.run(
            self.command("/usr/bin/env", "docker", *arguments),
            cwd=folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def logged_in(self, address: str, login: Login) -> Machine:
        """Return this machine with a docker that is logged in by a password in its settings."""
        return self._with_settings({"auths": {address: {"auth": login.encoded}}})

    def with_helper(self, address: str, login: Login, *, for_all: bool = False) -> Machine:
        """Return this machine with a docker that gets the password from a credential helper.

        Docker asks the helper about this registry alone, or about all of them. The questions are in
        `settings/bin/docker-credential-test.calls`.
        """
        chosen = {"credsStore": HELPER} if for_all else {"credHelpers": {address: HELPER}}
        machine = self._with_settings(chosen)
        assert machine.settings is not None
        helper = machine.settings / "bin" / f"docker-credential-{HELPER}"
        helper.write_text(
            HELPER_SCRIPT.format(address=address, user=login.user, password=login.password)
        )
        helper.chmod(0o755)
        return machine

    def where_nodes_meet(self, how: str, folder: Path) -> Machine:
        """Return this machine with a docker whose first build reports that two nodes met.

        Args:
            how: what fails, the `build` or its `export`.
            folder: the folder of that docker.
        """
        folder.mkdir()
        (folder / "count").write_text("first")
        vertex = json.dumps({"vertexes": [FAILED_EXPORT]})
        return self.with_docker(MET, folder=folder, how=how, vertex=vertex)

    def where_a_failed_build_ends_late(self, folder: Path) -> Machine:
        """Return this machine with a docker that cannot save a failed build at once.

        Args:
            folder: where docker creates `followed` as it fails to.
        """
        vertex = json.dumps({"vertexes": [{**FAILED_EXPORT, "error": LOST}]})
        words, command = '*" --file "*/finished/*', f"echo '{vertex}' >&2"
        return self.with_docker(FOLLOWED, folder=folder, words=words, command=command)

    def where_another_build_follows(self, other: str, folder: Path) -> Machine:
        """Return this machine with a docker whose first build is followed by another one.

        Args:
            other: the words for docker that build it.
            folder: where docker creates `followed` as it runs them.
        """
        words, command = '*"buildx build "*', f"docker {other} >/dev/null 2>&1"
        return self.with_docker(FOLLOWED, folder=folder, words=words, command=command)

    def where_bake_forgets(self) -> Machine:
        """Return this machine with a docker whose bakes of several targets keep no inline cache."""
        return self.with_docker(FORGETS)

    def where_builders_have(self, options: str) -> Machine:
        """Return this machine with a docker that creates builders with these driver options."""
        return self.with_docker(OPTIONS, options=options)

    def with_docker(self, script: str, **more: object) -> Machine:
        """Return this machine with a docker that is a script; `{docker}` in it is the real one."""
        machine = self._with_settings({})
        assert machine.settings is not None
        docker = shutil.which("docker", path=self.environment()["PATH"])
        (machine.settings / "bin" / "docker").write_text(script.format(docker=docker, **more))
        (machine.settings / "bin" / "docker").chmod(0o755)
        return machine

    def _with_settings(self, content: dict[str, Any]) -> Machine:
        self.home.parent.mkdir(parents=True, exist_ok=True)
        settings = Path(tempfile.mkdtemp(prefix="docker-", dir=self.home.parent))
        plugins = Path(self.environment()["DOCKER_CONFIG"]) / "cli-plugins"
        (settings / "cli-plugins").symlink_to(plugins.resolve())
        (settings / "bin").mkdir()
        (settings / "config.json").write_text(json.dumps(content))
        return replace(self, settings=settings)


@dataclass(frozen=True)
class Ran:
    """What a process printed."""

    out: str
    err: str


def count(document: dict[str, Any]) -> tuple[int, int]:
    """Return how many steps were reused and executed."""
    return document["counts"]["reused"], document["counts"]["executed"]
