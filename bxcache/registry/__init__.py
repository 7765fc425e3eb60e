"""A container registry, used through its HTTP API with docker's credentials.

BuildKit moves the layers; this room handles the small documents that it has no command for.
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""
