"""The story of a build, and what it is made of. `build` reads from top to bottom."""
