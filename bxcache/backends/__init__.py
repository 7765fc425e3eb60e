"""Where a cache is kept: what docker is told of it, how it is saved and read."""
