"""What a repository declares: the models of `bxcache.toml`, and the sources of its values."""
