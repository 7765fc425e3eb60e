"""What a repository declares: the models of `bxcache.toml`, and how its values are found.

A value comes from, in rising order of precedence: its default, the file, a `BXCACHE_*` variable,
a flag (or an argument of the Python API). Every value knows which of them it came from.
"""
