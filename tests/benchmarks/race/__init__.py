"""A race: the ways to keep a build's cache, side by side over a history of commits."""
