"""How docker takes a secret, and how programs print one. Nothing of bxcache is used here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

SECRET = 'h"1 &<7é+/$x-9q'
"""It has what each encoding writes in another way."""
PLAIN = "c4n4ry-0f-letters"
"""It has nothing that a command line or a URL would quote."""


def quote_in_go(text: str) -> str:
    r"""Quote as Go's `%q`, for letters, quotes and backslashes: https://pkg.go.dev/strconv#Quote"""
    return text.replace("\\", "\\\\").replace('"', '\\"')


FORMS: Mapping[str, Callable[[str], str]] = {
    "raw": str,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of a line": lambda text: base64.b64encode(f"{text}\n".encode()).decode(),
    "base64 behind one": lambda text: base64.b64encode(f"u{text}".encode()).decode()[2:],
    "base64 behind two": lambda text: base64.b64encode(f"u:{text}".encode()).decode()[3:],
    "base64 of a URL": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "percent": lambda text: quote(text, ""),
    "percent in Python": quote,
    "percent in JavaScript": lambda text: quote(text, "!~*'()"),
    "percent in small letters": lambda text: quote(text, "").lower(),
    "form": quote_plus,
    "json": lambda text: json.dumps(text)[1:-1],
    "json of now": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json of PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "json of Go": lambda text: (
        json.dumps(text, ensure_ascii=False)[1:-1]
        .replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
    ),
    "%q": quote_in_go,
}
"""The encodings that a secret is printed in."""


@dataclass(frozen=True)
class Way:
    """A way in which docker takes a secret.

    Attributes:
        words: the arguments of the command, with `{}` for the secret.
        variables: the environment variables.
        files: the content of files below the working directory.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


IN_VARIABLE = {"VALUE": "{}"}
IN_FILE = {"secret.txt": "{}\n"}
WAYS: Mapping[str, Way] = {
    "build argument": Way(("--build-arg", "NPM_TOKEN={}")),
    "build argument, one word": Way(("--build-arg=NPM_TOKEN={}",)),
    "build argument of a variable": Way(("--build-arg", "NPM_TOKEN"), {"NPM_TOKEN": "{}"}),
    "build argument of a variable, one word": Way(("--build-arg=NPM_TOKEN",), {"NPM_TOKEN": "{}"}),
    "argument that a shell filled in": Way(("--build-arg", "X={}"), {"NPM_TOKEN": "{}"}),
    "argument with options": Way(("--build-arg", "OPTIONS=--quiet --token={}")),
    "secret of a variable": Way(("--secret", "id=a,env=VALUE"), IN_VARIABLE),
    "secret of a variable, one word": Way(("--secret=id=a,env=VALUE",), IN_VARIABLE),
    "secret in quotes": Way(("--secret", '"id=a","env=VALUE"'), IN_VARIABLE),
    "secret in quotes, one word": Way(('--secret="id=a","env=VALUE"',), IN_VARIABLE),
    "secret in capitals": Way(("--secret", "ID=a,Env=VALUE"), IN_VARIABLE),
    "secret by its id": Way(("--secret", "id=VALUE"), IN_VARIABLE),
    "secret by its type": Way(("--secret", "type=env,id=a,src=VALUE"), IN_VARIABLE),
    "secret by its type, source": Way(("--secret", "Type=env,id=a,Source=VALUE"), IN_VARIABLE),
    "secret of a file": Way(("--secret", "id=a,src=secret.txt"), files=IN_FILE),
    "secret of a source": Way(("--secret", "id=a,source=secret.txt"), files=IN_FILE),
    "secret of a file by its id": Way(("--secret", "id=secret.txt"), files=IN_FILE),
    "secret of a typed file": Way(("--secret=type=file,id=a,src=./secret.txt",), files=IN_FILE),
    "key for ssh": Way(("--ssh", "default=secret.txt"), files=IN_FILE),
    "attribute": Way(("--cache-to", '"type=s3","secret_access_key={}"')),
    "attribute, one word": Way(("--cache-from=type=gha,token={}",)),
    "attribute in capitals": Way(("--output", "type=s3,Session_Token={}")),
    "label": Way(("--label", "deploykey={}")),
    "annotation": Way(("--annotation", "manifest:AUTH={}")),
    "bake's argument": Way(("--set", "app.args.NPM_TOKEN={}")),
    "bake's argument, one word": Way(("--set=*.args.pgpass={}",)),
    "bake's argument of a variable": Way(("--set", "app.args.JWT"), {"JWT": "{}"}),
    "bake's argument of a public target": Way(("--set", "public.args.JWT={}")),
    "bake's secret": Way(("--set", "app.secrets=id=a,env=VALUE"), IN_VARIABLE),
    "bake's further secret": Way(("--set", "*.secret+=id=a,src=secret.txt"), files=IN_FILE),
    "bake's cache": Way(("--set", "*.cache-to=type=s3,secret_access_key={}")),
    "bake's variable": Way(("--var", "MASTERKEY={}")),
}
"""The ways that docker takes a secret in, wherever they stand in a command."""
IN_URLS: Mapping[str, Way] = {
    "context": Way(("https://me:{}@git.example.com/app.git#main",)),
    "context by a token": Way(("https://{}@git.example.com/app.git",)),
    "named context": Way(("--build-context", "x=https://me:{}@example.com/x.tar")),
    "Dockerfile": Way(("--file", "https://me:{}@example.com/Dockerfile")),
    "argument": Way(("--build-arg", "INDEX=https://me:{}@pypi.example.com/simple")),
    "argument behind others": Way(("--build-arg=A=1,INDEX=https://me:{}@pypi.example.com",)),
    "query": Way(("--build-arg", "FROM=https://example.com/x?sv=1&sig={}&x=2")),
    "attribute": Way(("--cache-to=type=azblob,account_url=https://me:{}@example.com",)),
}
"""The same for what a URL can have in it."""
NESTED: Mapping[str, str] = {
    "npmrc": "registry=https://x\n//x/:_authToken={}\n",
    "docker's config": '{{"auths": {{"x": {{"auth": "{}"}}}}}}',
    "connection": "Server=x;User=y;Password={};Encrypt=1",
    "aws": "[default]\naws_secret_access_key = {}\n",
    "yaml": "users:\n- token: {}\n",
    "url": "postgres://me:{}@db/x",
}
"""What files and variables have a secret in, which a step can print alone."""
