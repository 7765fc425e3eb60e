"""Options that several commands have."""

from __future__ import annotations

import click

CONFIG = click.option("--config", "config_file", metavar="FILE", help="The config file.")
IMAGE = click.option("--image", metavar="NAME", help="One of the config file's [images].")
JSON = click.option("--json", "as_json", is_flag=True, help="Print a JSON document on stdout.")
