"""The version, read by the build backend too, and where the documentation is."""

__version__ = "0.1.0"
DOCS = "https://github.com/bxcache/bxcache/blob/main/docs"
