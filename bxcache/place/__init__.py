"""Where a build runs: its branch, tag and pull request, and whether its code is trusted."""
