"""The Debian mirror the host uses, asked for packages of any suite."""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.engines.confinement import bound
from tests.engines.errors import EngineError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TARGET_FORMAT = "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(RELEASE)|$(COMPONENT)"
# Index files other than the lists of packages are left out, and so are the host's own hooks.
APT_SETTINGS = """\
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "{folder}/state";
Dir::Cache "{folder}/cache";
Dir::Log "{folder}";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


@cache
def host_codename() -> str:
    """Return the suite the host runs, such as bookworm."""
    lines = Path("/etc/os-release").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    codename = fields.get("VERSION_CODENAME", "").strip('"')
    if fields.get("ID", "").strip('"') != "debian" or not codename:
        raise EngineError(
            f"Test engines are unpacked from Debian packages, and this is {fields.get('ID')}",
            "Run on Debian 12 or newer, or set BXCACHE_TEST_DOCKER_HOST to a running engine",
        )
    return codename


@dataclass(frozen=True)
class Mirror:
    """An archive that carries Debian's suites."""

    uri: str

    @classmethod
    def of_host(cls) -> "Mirror":
        """Return the archive that the host's own packages come from."""
        codename = host_codename()
        for uri, origin, label, release, component in _index_targets():
            if (origin, label, component) == ("Debian", "Debian", "main") and release:
                return cls(uri)
        # Before the first `apt-get update` there is no origin to go by.
        for uri, _, _, release, component in _index_targets("--no-release-info"):
            if (release, component) == (codename, "main"):
                return cls(uri)
        raise EngineError(
            f"No Debian archive with {codename} main is among the apt sources",
            "Add one to /etc/apt, or set BXCACHE_TEST_DOCKER_HOST to a running engine",
        )

    def download(self, suite: str, names: tuple[str, ...], folder: Path) -> list[Path]:
        """Fetch these packages of a suite into a new folder and return the files."""
        settings = self.prepare_apt(suite, folder)
        run_apt(settings, "download", *names)
        return sorted(folder.glob("*.deb"))

    def prepare_apt(self, suite: str, folder: Path) -> Path:
        """Read a suite's list of packages into a private apt and return its settings file."""
        for made in ("state/lists/partial", "cache/archives/partial"):
            (folder / made).mkdir(parents=True)
        trust = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (folder / "sources.list").write_text(f"deb {trust}{self.uri} {suite} main\n")
        settings = folder / "apt.conf"
        settings.write_text(APT_SETTINGS.format(folder=folder))
        run_apt(settings, "update", "--error-on=any")
        return settings


def run_apt(settings: Path, *arguments: str) -> None:
    """Run apt-get with private settings, in their folder."""
    command = bound(["apt-get", "--quiet", "--config-file", str(settings), *arguments])
    done = subprocess.run(command, cwd=settings.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(
            f"apt-get {' '.join(arguments)} failed",
            "Check that the Debian mirror of this machine's apt sources is in reach and up to date",
            done.stdout + done.stderr,
        )


def _index_targets(*options: str) -> list[list[str]]:
    command = ["apt-get", *options, "indextargets", "--format", TARGET_FORMAT]
    try:
        listed = subprocess.run(
            [*command, "Created-By: Packages"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineError(
            f"apt-get does not list its sources: {error}",
            "Repair the apt sources, or set BXCACHE_TEST_DOCKER_HOST to a running engine",
        ) from error
    return [line.split("|") for line in listed.stdout.splitlines()]
