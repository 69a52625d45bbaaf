"""Sanitizes upstream text for callers: no control characters, no credential, limited length."""

import functools
import re

MAX_TEXT_BYTES = 1024


_KEY = "[key]"


_LONGEST_SPELLING = 8  # of one character of the key, in characters


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def sanitize_text(text: object, key: str | None = None, limit: int = MAX_TEXT_BYTES) -> str:
    """Make upstream text safe to pass on: no control characters, no key, at most `limit` bytes of UTF-8."""
    if not isinstance(text, str):
        return ""
    text = _CONTROL.sub(" ", redacted(text, key)).strip()
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"


def _before_cut(text: str, key: str | None) -> str:
    """Return truncated text without the key, and without its end, which may be a part of the key."""
    return redacted(text, key)[: -_LONGEST_SPELLING * len(key)] if key else text


def redacted(text: str, key: str | None) -> str:
    """Return the text without the key, also where it is percent-encoded or escaped as in JSON or HTML."""
    if not key:
        return text
    text = text.replace(key, _KEY)
    return _spellings(key).sub(_KEY, text) if "%" in text or "\\" in text or "&" in text else text


@functools.lru_cache(4)
def _spellings(key: str) -> re.Pattern[str]:
    # Without backslashes before the first character: to match them would take quadratic time.
    return re.compile(_spelling(key[0], "") + "".join(_spelling(char, r"\\*") for char in key[1:]))


def _spelling(char: str, backslashes: str) -> str:
    """Return a pattern of the ways in which one character of a key may be written, with any backslashes before it."""
    code = ord(char)
    percent = "".join(f"%{byte:02x}" for byte in char.encode())
    named = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}.get(char, "#")
    escaped = rf"{backslashes}\\(?:u{code:04x}|x{code:02x})"
    return rf"(?:{backslashes}{re.escape(char)}|(?i:{percent}|{escaped}|&#0?{code};|&#x{code:x};|&{named};))"
