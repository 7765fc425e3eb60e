"""Real Docker engines, builders and registries for the tests, unpacked from Debian's packages.

Nothing is installed and nothing of the host is changed: packages are unpacked into a folder that is
kept between runs, and each server runs in its own namespaces below a folder of its own.
"""

from tests.engines.archives import Image
from tests.engines.builders import container_builder, remote_builder
from tests.engines.certificates import SECURE_ADDRESS, SECURE_HOST, Authority, make_authority
from tests.engines.client import DockerClient
from tests.engines.debian import debian_base, load_debian
from tests.engines.engine import Engine, ExternalEngine, external_engine
from tests.engines.errors import EngineError
from tests.engines.exchanges import Request
from tests.engines.images import busybox_context, busybox_image, load_busybox
from tests.engines.packages import Toolset, ensure_suite
from tests.engines.proxy import FaultyProxy
from tests.engines.registry import LOGIN, Login, Registry

__all__ = [
    "LOGIN",
    "SECURE_ADDRESS",
    "SECURE_HOST",
    "Authority",
    "DockerClient",
    "Engine",
    "EngineError",
    "ExternalEngine",
    "FaultyProxy",
    "Image",
    "Login",
    "Registry",
    "Request",
    "Toolset",
    "busybox_context",
    "busybox_image",
    "container_builder",
    "debian_base",
    "ensure_suite",
    "external_engine",
    "load_busybox",
    "load_debian",
    "make_authority",
    "remote_builder",
]
