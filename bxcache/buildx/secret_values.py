"""Recognizes build arguments that look like secrets, by their names and values. Pure.

A build argument is no place for a secret: it is part of the image's history and of the keys and
layers of its cache.
https://docs.docker.com/reference/build-checks/secrets-used-in-arg-or-env/
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

from bxcache.redaction import URL_USER, is_secret_name, is_vague_name

FORMATS: dict[str, str] = {
    # https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github
    "a GitHub token": r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,}",
    # https://docs.gitlab.com/security/tokens/#token-prefixes
    "a GitLab token": r"(?:gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|wt|soat|ffct))"
    r"-[A-Za-z0-9_.-]{20,}",
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    "an AWS access key": r"(?:AKIA|ASIA)[A-Z2-7]{16}",
    # https://learn.microsoft.com/azure/storage/common/storage-account-keys-manage
    "an Azure storage key": r"(?:.*AccountKey=)?[A-Za-z0-9+/]{86}==.*",
    # https://learn.microsoft.com/azure/storage/common/storage-sas-overview
    "an Azure signature": r".*[?&]sig=[A-Za-z0-9%+/=]{40,}.*",
    # https://cloud.google.com/docs/authentication/api-keys
    "a Google API key": r"AIza[A-Za-z0-9_-]{35}",
    # https://developers.google.com/identity/protocols/oauth2#size
    "a Google token": r"ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}",
    # https://docs.slack.dev/authentication/tokens
    "a Slack token": r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}",
    "a Slack webhook": r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,}",
    # https://docs.npmjs.com/about-access-tokens
    "an npm token": r"npm_[A-Za-z0-9]{36}",
    # https://warehouse.pypa.io/development/token-scanning.html
    "a PyPI token": r"pypi-AgE[A-Za-z0-9_-]{50,}",
    # https://docs.docker.com/security/access-tokens/
    "a Docker Hub token": r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}",
    # https://guides.rubygems.org/api-key-scopes/
    "a RubyGems key": r"rubygems_[0-9a-f]{48}",
    # https://docs.stripe.com/keys
    "a Stripe key": r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}",
    # https://docs.anthropic.com/en/api/overview
    "an Anthropic key": r"sk-ant-[A-Za-z0-9_-]{32,}",
    # https://platform.openai.com/docs/api-reference/authentication
    "an OpenAI key": r"(?=.*[A-Z])(?=.*\d)sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,}",
    # https://huggingface.co/docs/hub/security-tokens
    "a Hugging Face token": r"hf_[A-Za-z0-9]{30,}",
    # https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys
    "a SendGrid key": r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}",
    # https://docs.digitalocean.com/reference/api/create-personal-access-token/
    "a DigitalOcean token": r"do[por]_v1_[0-9a-f]{64}",
    # https://developer.hashicorp.com/vault/docs/concepts/tokens
    "a Vault token": r"hv[sbr]\.[A-Za-z0-9_-]{24,}",
    # https://developer.hashicorp.com/terraform/cloud-docs/users-teams-organizations/api-tokens
    "a Terraform token": r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}",
    # https://docs.sentry.io/account/auth-tokens/
    "a Sentry token": r"sntry[su]_[A-Za-z0-9+/=_-]{40,}",
    # https://core.telegram.org/bots/api#authorizing-your-bot
    "a Telegram token": r"\d{8,10}:AA[A-Za-z0-9_-]{33}",
    # https://www.rfc-editor.org/rfc/rfc7519#section-3.1
    "a JSON web token": r"(?:Bearer )?eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    # https://www.rfc-editor.org/rfc/rfc7468#section-4
    "a private key": r"\s*-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    # https://github.com/FiloSottile/age
    "an age key": r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
}
"""The formats that are recognized. Each has to match a whole value."""
_FORMATS = {what: re.compile(f"(?s:{each})") for what, each in FORMATS.items()}
_TRIVIAL = re.compile(
    r"|true|false|yes|no|on|off|none|null|auto|default|enabled|disabled|\d+", re.IGNORECASE
)
_PLACE = re.compile(r"[.~]{0,2}/[\w./-]*|https?://[^@\s]*")
"""A path or an address: where a secret is, or what it is for."""
_ABOUT = re.compile(
    r"_(?:id|name|user(?:name)?|host|port|domain|url|uri|realm|issuer|audience|scopes?|mode|method"
    r"|type|provider|algorithm|alg|header|prefix|length|count|enabled|ttl|(?:expir|timeout|sock)\w*"
    r"|seconds|minutes|hours|days)$|^(?:max|min|num)_",
    re.IGNORECASE,
)
"""Names that are about a secret."""
_PUBLIC = re.compile(r"(?i:public|pubkey)\w*=|=(?:ssh|ecdsa)-")
"""A public key, by its name or by how it begins."""
_CHECKSUM = re.compile(r"(?:sha\d*|md5|h1|blake\w*)[-:=].*", re.IGNORECASE | re.DOTALL)
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[.~]{0,2}/")
_RUN = re.compile(r"[A-Za-z0-9+/]{20,}")
_LEAST_BITS = 3.5
"""The entropy of a random text of 20 letters and digits is about 4 bits a character."""
_LEAST_CHANGES = 0.4
"""How often a text changes between small letters, capital ones and digits: of random ones, 0.62 of
all pairs of characters do, of names in mixed case about a quarter."""


def describe_secret(name: str, value: str) -> str | None:
    """Say why a build argument looks like a secret; None if it does not.

    >>> describe_secret("NPM_TOKEN", "abc12345")
    'its name looks like that of a secret'
    >>> describe_secret("VERSION", "1.2.3")
    """
    if _TRIVIAL.fullmatch(value):
        return None
    kind = next((what for what, each in _FORMATS.items() if each.fullmatch(value)), None)
    if kind is not None:
        return f"its value looks like {kind}"
    if any(":" in match["user"] for match in URL_USER.finditer(value)):
        return "its value is a URL with a password"
    is_random = _is_random(value) and not _PUBLIC.search(f"{name}={value}")
    if is_secret_name(name) and (is_random or _is_named_alone(name, value)):
        return "its name looks like that of a secret"
    return "its value looks random" if is_random else None


def _is_named_alone(name: str, value: str) -> bool:
    """Whether a secret name is enough, whatever the value."""
    return not (is_vague_name(name) or _ABOUT.search(name) or _PLACE.fullmatch(value))


def _is_random(value: str) -> bool:
    """Whether a value has a random part. Hex digests do not count, nor do other checksums."""
    parts = value.split("/") if _PATH.match(value) else [value]
    runs = (run for part in parts for run in _RUN.findall(part))
    return _CHECKSUM.fullmatch(value) is None and any(map(_is_mixed, runs))


def _is_mixed(run: str) -> bool:
    kinds = [_find_kind(each) for each in run]
    if not {"a", "A", "0"} <= set(kinds):
        return False
    counts = Counter(run).values()
    bits = -sum(n / len(run) * math.log2(n / len(run)) for n in counts)
    changes = sum(one != other for one, other in pairwise(kinds))
    return bits >= _LEAST_BITS and changes >= _LEAST_CHANGES * (len(run) - 1)


def _find_kind(character: str) -> str:
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return "0" if character.isdigit() else "+"
