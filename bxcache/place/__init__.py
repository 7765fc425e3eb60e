"""Where a build runs: its branch, its tag, its pull request, and whether its code is trusted."""
