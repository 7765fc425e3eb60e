"""Repositories without bxcache, of each kind that `bxcache init` knows."""

from __future__ import annotations

REPOSITORIES: dict[str, dict[str, str]] = {
    "one": {"Dockerfile": "FROM busybox\nCOPY . /srv\n"},
    "bake": {
        "docker-bake.hcl": 'group "default" { targets = ["api", "web"] }\n'
        'target "api" { target = "api" }\ntarget "web" { target = "web" }\n',
        "Dockerfile": "FROM scratch AS api\nCOPY Dockerfile /a\n"
        "FROM scratch AS web\nCOPY Dockerfile /w\n",
    },
    "monorepo": {
        "api/Dockerfile": "FROM busybox\nCOPY main.py /\n",
        "api/main.py": "",
        "web/Dockerfile": "FROM busybox\nCOPY web/index.html /\n",
        "web/index.html": "",
        "compose.yml": "services:\n  api:\n    build: ./api\n",
    },
}
