"""Secrets this process was told, and text without them: by value, wherever they turn up, and by their place in a URL.

Whatever reads a password says so with `remember`; whatever writes to a person, a log or a client passes its text
through `without_secrets`. A server may well repeat what it was sent (`unknown command 'AUTH', with args beginning with:
'the password'`), so that knowing where a password stands is not enough.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote, quote_plus

MASK = "***"
# A server cuts what it repeats (Redis after 128 bytes): of a long secret a beginning of so many signs is as secret.
TELLING = 32
# Shorter than this it is hidden only where it stands alone: "1" is in every other word, which would tell what it is.
ANYWHERE = 4

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/{1,2})([^\s/][^\s]*)@")
_OPTION = re.compile(r"([?&][^\s=&?]*(?:pass|auth|secret|token)[^\s=&?]*(?<!_file)=)[^&\s'\"]+", re.IGNORECASE)

_EXAMPLE = "user:password"  # as what to write is explained

_known: list[str] = []  # the secrets in every spelling, longest first


def remember(secret: str) -> None:
    """Hide a secret from now on, however it is spelled: plain, percent-encoded, in quotes, in JSON."""
    if not secret or secret in _known:
        return
    spellings = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    spellings |= {quote(secret, safe="", errors="replace"), quote(secret, errors="replace")}
    spellings |= {quote_plus(secret, errors="replace")}
    _known[:] = sorted(spellings.union(_known), key=len, reverse=True)


def without_secrets(text: str) -> str:
    """The text with `***` for every secret in it."""
    for secret in tuple(_known):
        if len(secret) > TELLING:
            text = _without_beginnings(text, secret)
        elif len(secret) < ANYWHERE:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
        else:
            text = text.replace(secret, MASK)
    if "@" in text:
        text = _URL.sub(_without_credentials, text)
    return _OPTION.sub(rf"\1{MASK}", text) if "=" in text else text


def _without_beginnings(text: str, secret: str) -> str:
    begin, at = secret[:TELLING], 0
    while (at := text.find(begin, at)) >= 0:
        length = TELLING
        while length < len(secret) and text[at + length : at + length + 1] == secret[length]:
            length += 1
        text = text[:at] + MASK + text[at + length :]
        at += len(MASK)
    return text


def _without_credentials(match: re.Match[str]) -> str:
    """A URL's user stays where a password follows; what stands alone before the host may be a password by mistake."""
    if match[2] == _EXAMPLE:
        return match[0]
    user, colon, _ = match[2].partition(":")
    shown = f"{user}:{MASK}" if colon and re.fullmatch(r"[\w.-]*", user) else MASK
    return f"{match[1]}{shown}@"
