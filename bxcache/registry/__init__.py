"""A container registry over its own API, with docker's credentials.

    retention   pure: which scopes go
    scopes      the scopes of a repository, by the labels beside them: list, name anew, remove
    probing     what several refs hold, asked at once
    repository  manifests, tags and blobs of one repository
    connection  requests: TLS, credentials, waiting, and what went wrong
    credentials docker's login of a registry

BuildKit moves the layers; here are only the small documents that it has no command for.
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""
