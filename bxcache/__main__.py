"""`python -m bxcache`."""

from bxcache.cli.main import main

main()
