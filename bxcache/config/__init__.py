"""The configuration of a repository: the models of `bxcache.toml`, and the sources of its values.

The sources, in rising precedence: the default, the file, a `BXCACHE_*` variable, a flag (or an
argument of the Python API). The source of every value is known.
"""
