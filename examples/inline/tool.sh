#!/bin/sh
# Says where it runs.
echo "on $(uname -m)"
