"""The first files of a repository: `bxcache.toml` and a CI job, from the templates of this folder.

`examples/` holds what these templates make for a repository of one Dockerfile.
"""
