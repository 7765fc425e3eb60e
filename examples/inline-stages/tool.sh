#!/bin/sh
# Says where it runs, in the words that it was built with.
echo "$(cat /usr/local/share/words) $(uname -m)"
