#!/bin/sh
# Makes a page of the words on standard input.
echo '<!doctype html><title>Shop</title><ul>'
sed 's/.*/<li>&/'
