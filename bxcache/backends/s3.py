"""A bucket of S3, or of a service that is like it, as a backend: an object for each scope."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from bxcache.backends.service import ServiceBackend, explain_docker
from bxcache.errors import Trouble
from bxcache.services.aws_keys import find_keys, find_region, find_source
from bxcache.services.faults import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.buildx.capabilities import Capabilities
    from bxcache.config.loading import Setup
    from bxcache.config.services import S3Settings
    from bxcache.services.service import Service

_FORWARDED = ("access_key_id", "secret_access_key", "session_token")
"""Docker adds those that it finds, unless they are given. Given as empty, BuildKit looks for its
own: https://github.com/docker/buildx/blob/v0.29.1/build/opt.go"""


class S3Backend(ServiceBackend):
    """A bucket, with an object for each scope and for each layer."""

    kind = "s3"
    name_key = "name"
    import_mark: ClassVar[str | None] = " from s3:"

    settings: S3Settings

    def __init__(self, settings: S3Settings, setup: Setup) -> None:
        super().__init__(settings, setup)
        self.touch_refresh = settings.touch_refresh

    @property
    def place(self) -> str:
        return f"s3://{self.settings.bucket}/{self.settings.prefix}"

    def explain_builder(self, found: Capabilities) -> str | None:
        return explain_docker(found, self.kind)

    def open_service(self) -> Service:
        from bxcache.services.s3 import open_bucket  # noqa: PLC0415  # loads HTTP

        region = find_region(self.settings, self.environment)
        if region is None:
            why = "its region is unknown; set `region`, or AWS_REGION in this job"
            raise ServiceError(self.place, "opening it", why, trouble=Trouble.REFUSED)
        return open_bucket(self.settings, self.place, region, self.environment)

    @cached_property
    def forwarded(self) -> str:
        found = find_source(self.environment)
        return found or ("what docker finds" if self.settings.credentials == "job" else "")

    def list_marks(self) -> Iterator[str]:
        yield "operation error S3:"

    def list_secrets(self) -> Iterator[str]:
        keys = find_keys(self.environment)
        if keys is not None:
            yield keys.secret
            yield from filter(None, [keys.token])

    def list_attributes(self) -> Iterator[tuple[str, str]]:
        settings = self.settings
        yield "bucket", settings.bucket
        yield "region", find_region(settings, self.environment) or ""
        if settings.prefix:
            yield "prefix", settings.prefix
        for name in ("blobs_prefix", "manifests_prefix", "endpoint_url", "retry_mode"):
            value = getattr(settings, name)
            if value is not None:
                yield name, value
        for name in ("use_path_style", "disable_accept_encoding"):
            if getattr(settings, name):
                yield name, "true"
        if settings.retry_max_attempts is not None:
            yield "retry_max_attempts", str(settings.retry_max_attempts)
        if not self.forwards:
            yield from ((name, "") for name in _FORWARDED)

    def list_export_attributes(self) -> Iterator[tuple[str, str]]:
        yield "touch_refresh", f"{self.settings.touch_refresh}s"
        if self.settings.upload_parallelism is not None:
            yield "upload_parallelism", str(self.settings.upload_parallelism)
