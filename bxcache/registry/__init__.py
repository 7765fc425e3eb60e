"""A container registry, used through its HTTP API with docker's credentials.

    scopes      the scopes of a repository, by their labels: list, copy, remove
    repository  manifests, tags and blobs of one repository; look up several refs at once
    connection  requests: TLS, credentials, retries and errors
    credentials docker's login to a registry

BuildKit moves the layers; this room handles the small documents that it has no command for.
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""
