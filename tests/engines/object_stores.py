"""Object stores on the loopback interface: S3 by SeaweedFS, and Azure Blob Storage by Azurite.

SeaweedFS comes with the tests' packages. Azurite is fetched from npm on first use.
"""

import base64
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Self

import obstore
import urllib3
from obstore.exceptions import BaseError
from obstore.store import AzureStore, ObjectStore, S3Store

from tests.engines.errors import EngineError
from tests.engines.servers import Launch, Server, Service
from tests.engines.storage import keep

LOOPBACK = "127.0.0.1"
ATTEMPTS = 3
BUCKET = "cache"
KEY_ID, SECRET_KEY = "tests", "not-a-secret-of-anyone"
ACCOUNT = "tests"
ACCOUNT_KEY = base64.b64encode(b"not a secret of anyone either").decode()
AZURITE = "azurite@3.37.0"
FETCHED_WITHIN = 300.0
ROLES = ("master", "volume", "filer")
# SeaweedFS puts sockets into /tmp. Its own folder is there for it, and holds its program.
SHADE = """\
mount --bind "$2" "$1/weed" && mount --rbind "$1" /tmp || exit
shift 2
exec "$@"
"""


class S3(Service[int]):
    """A service like S3 with one user, which makes each bucket on its first use."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self.running[1]}"

    @property
    def job(self) -> dict[str, str]:
        """The variables with its user's credentials."""
        return {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    @property
    def store(self) -> ObjectStore:
        """A client with all rights."""
        return _open_bucket(self.running[1])

    def start(self) -> Self:
        """Start it and wait until it stores objects."""
        self._running = _try_ports("SeaweedFS", _prepare_s3)
        return self


class Azure(Service[int]):
    """An emulator of Azure Blob Storage with one account.

    Raises:
        EngineError: at its start, there is no npm to fetch it with.
    """

    @property
    def url(self) -> str:
        """The account's address."""
        return f"http://{LOOPBACK}:{self.running[1]}/{ACCOUNT}"

    @property
    def job(self) -> dict[str, str]:
        """The variable with the account's key."""
        return {"AZURE_STORAGE_KEY": ACCOUNT_KEY}

    def make_container(self, name: str) -> None:
        """Make a container, as BuildKit does before its first save.

        https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        """
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
        known = "".join(f"{key}:{value}\n" for key, value in headers.items())
        resource = f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        text = "PUT" + "\n" * 12 + known + resource
        mac = hmac.digest(base64.b64decode(ACCOUNT_KEY), text.encode(), "sha256")
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}"
        url = f"{self.url}/{name}?restype=container"
        urllib3.request("PUT", url, headers={**headers, "Content-Length": "0"})

    @property
    def store(self) -> ObjectStore:
        """A client of BuildKit's default container."""
        return AzureStore(
            "buildkit-cache",
            account_name=ACCOUNT,
            account_key=ACCOUNT_KEY,
            endpoint=self.url,
            client_options={"allow_http": True},
        )

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self._running = _try_ports("Azurite", _prepare_azure)
        return self


def _try_ports(name: str, prepare: Callable[[int, Path], Launch]) -> tuple[Server, int]:
    """Start a server on a free port; another process can take that first."""
    for _ in range(ATTEMPTS - 1):
        (port,) = _find_ports(1)
        try:
            return Server.start(name, partial(prepare, port)), port
        except EngineError as error:
            if "address already in use" not in error.detail.lower():
                raise
    (port,) = _find_ports(1)
    return Server.start(name, partial(prepare, port)), port


def _find_ports(count: int) -> list[int]:
    """Find free ports, all at once, so that they differ."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


def _prepare_s3(port: int, folder: Path) -> Launch:
    user = {
        "name": "tests",
        "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "users.json").write_text(json.dumps({"identities": [user]}))
    (folder / "data").mkdir()
    (folder / "weed").touch()
    own = [f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-dir=/tmp/data"]
    small = ["-master.volumeSizeLimitMB=64", "-volume.max=100", "-volume.preStopSeconds=0"]
    served = ["-s3", f"-s3.port={port}", "-s3.config=/tmp/users.json"]
    served += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    others = _find_ports(2 * len(ROLES) + 1)
    ports = [f"-{role}.port={others.pop()}" for role in ROLES]
    ports += [f"-{role}.port.grpc={others.pop()}" for role in (*ROLES, "s3")]
    weed = Path(sys.executable).with_name("weed")
    shaded = ["unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", SHADE, "sh"]
    command = [
        *shaded,
        str(folder),
        str(weed),
        "/tmp/weed",
        "server",
        *own,
        *small,
        *served,
        *ports,
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": "/tmp"}
    return Launch(command, environment, partial(_stores, port))


def _open_bucket(port: int) -> ObjectStore:
    return S3Store(
        BUCKET,
        endpoint=f"http://{LOOPBACK}:{port}",
        region="us-east-1",
        access_key_id=KEY_ID,
        secret_access_key=SECRET_KEY,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def _stores(port: int) -> bool:
    """Whether it stores an object: it answers before it can."""
    try:
        obstore.put(_open_bucket(port), "ready", b"yes")
    except BaseError:
        return False
    return True


def _prepare_azure(port: int, _folder: Path) -> Launch:
    node = shutil.which("node")
    if node is None:
        raise EngineError("There is no node to run Azurite with", "Install node and npm")
    program = keep(AZURITE.replace("@", "-"), _fetch_azurite) / "node_modules" / "azurite"
    script = str(program / "dist" / "src" / "blob" / "main.js")
    own = ["--blobHost", LOOPBACK, "--blobPort", str(port)]
    command = [node, script, *own, "--inMemoryPersistence", "--skipApiVersionCheck", "--silent"]
    environment = {"PATH": os.environ["PATH"], "AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}"}
    return Launch(command, environment, partial(_listens, port))


def _fetch_azurite(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise EngineError("There is no npm to fetch Azurite with", "Install npm")
    command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", AZURITE]
    done = subprocess.run(command, capture_output=True, timeout=FETCHED_WITHIN, check=False)
    if done.returncode:
        raise EngineError("npm cannot fetch Azurite", "See its error", done.stderr.decode()[-4000:])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
