"""Extracts the message from the body of an error response, whatever its format.

The upstream API has two formats (upstream API notes, section 4.1). Proxies, gateways and other frameworks have their
own: a string or a list under `error`, `errors`, `detail` or `message`, problem+json, XML, an HTML page, text/plain.
A body that is truncated, not UTF-8, or not quite JSON is read as far as possible.
"""

import codecs
import dataclasses
import html
import json
import re
import string
from collections.abc import Iterator, Mapping
from typing import Any

from embedwire_server.upstreams.http import json_fallback

MAX_ITEMS = 20
MAX_DEPTH = 6
MAX_CHARS = 4096  # longest message, before it is sanitized and truncated for callers

_MESSAGE = (
    *("message", "msg", "faultstring", "detail", "error_description", "description"),
    *("errormessage", "error_message", "error_msg", "errmsg", "status_message", "usermessage"),
)
_WRAPPERS = ("error", "err", "fault", "errors", "title", "reason", "exception", "info", "error_text")
_CODE = ("code", "errorcode", "error_code", "__type")
_PLACE = ("loc", "field", "param", "pointer", "source")
_CHARSET = re.compile(
    r"charset\s*=\s*[\"']?(utf-?(?:8|16|32)|us-ascii|latin-?1|iso-?8859-?\d\d?|(?:windows-|cp)125\d"
    r"|koi8-[ru]|shift_jis|euc-(?:jp|kr)|big5|gbk|gb2312|gb18030)\b",
    re.IGNORECASE,
)
_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    *((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+("?)|[\[\]{}]', re.DOTALL)
_CUT_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:u[0-9a-fA-F]{0,3})?$")
_SCALAR = string.ascii_letters + string.digits + "+-."
_MARKUP = re.compile(r"\s*<(?:[a-zA-Z!?/])")
_HIDDEN = re.compile(r"<(script|style|head)\b.*?(?:</\1>|$)|<!--.*?(?:-->|$)", re.DOTALL | re.IGNORECASE)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|$)", re.DOTALL)
_TAG = re.compile(r"<[^<>]{0,4096}>?")
_XML_MESSAGE = ("message", "faultstring", "detail", "description", "error_description", "error", "title", "h1")
_REPLACED = "\N{REPLACEMENT CHARACTER}"


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorBody:
    """Contents of an error body as the upstream wrote them, neither sanitized nor truncated."""

    message: str = dataclasses.field(default="", repr=False)
    code: str = ""
    docs_url: str = ""
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)


def decoded(body: bytes, content_type: str) -> str:
    """Decode a body by its byte order mark, else its charset, else UTF-8; undecodable bytes become U+FFFD."""
    encoding = next((name for mark, name in _MARKS if body.startswith(mark)), None)
    if encoding is None and b"\x00" in body[:4]:
        encoding = json.detect_encoding(body)
    if encoding is None and (found := _CHARSET.search(content_type)):
        encoding = found[1]
    try:
        return body.decode(encoding or "utf-8", "replace")
    except (LookupError, ValueError):  # there is no such charset
        return body.decode("utf-8", "replace")


def read(text: str) -> ErrorBody:
    """Parse the text of a body: the message, and the other members of the two formats of the upstream API."""
    text = text.strip().removeprefix("\ufeff").lstrip()
    if _MARKUP.match(text):
        return ErrorBody(_of_markup(text), _element(text, "code"))
    value = _json(text)
    if value is None:
        return ErrorBody("" if text == "null" else _of_text(text))
    error = _error_object(value)
    code, docs_url, details = _member(error, _CODE), error.get("docs_url"), error.get("details")
    return ErrorBody(
        words(value)[:MAX_CHARS],
        str(code) if isinstance(code, str | int) and not isinstance(code, bool) else "",
        docs_url if isinstance(docs_url, str) else "",
        details if isinstance(details, Mapping) else {},
    )


def words(value: Any, depth: int = MAX_DEPTH) -> str:  # noqa: ANN401 - any JSON value
    """Return the message in a JSON value: itself, or that of its members and items, the most specific members first."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not depth:
        return ""
    if isinstance(value, list):
        items = [words(item, depth - 1) for item in value[:MAX_ITEMS] if not isinstance(item, int | float)]
        return "; ".join(filter(None, items))
    return _of_object(value, depth) if isinstance(value, dict) else ""


def _of_object(value: dict[str, Any], depth: int) -> str:
    """Return the message of an object; without one, its members are taken for fields with lists of messages."""
    names = {name.lower(): name for name in reversed(value)}
    found = {name: words(value[names[name]], depth - 1) for name in (*_MESSAGE, *_WRAPPERS) if name in names}
    message = next(filter(None, found.values()), "")
    if not message:
        return _of_fields(value, depth)
    if found.get("errors", "") not in message:
        message = f"{message}: {found['errors']}"
    place = _place(_member(value, _PLACE)) if depth < MAX_DEPTH else ""
    return f"{place}: {message}" if place and place not in message else message


def _of_fields(value: dict[str, Any], depth: int) -> str:
    types = list | dict | str if depth < MAX_DEPTH else list | dict  # at the top, strings are ids and times
    fields = [(name, item) for name, item in value.items() if isinstance(item, types)]
    found = [(name, words(item, depth - 1)) for name, item in fields[:MAX_ITEMS]]
    return "; ".join(f"{name}: {text}" for name, text in found if text)


def _place(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    parts = value if isinstance(value, list) else [value]
    return ".".join(str(part) for part in parts if isinstance(part, str | int) and not isinstance(part, bool))


def _member(value: Mapping[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401 - any JSON value
    """Return the first of these members that is present and not empty; names are case-insensitive."""
    lower = {name.lower(): item for name, item in value.items()}
    return next((lower[name] for name in names if lower.get(name)), None)


def _error_object(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - any JSON value
    """Return the object with `code` and `docs_url`: the body itself, its member `error`, or the only item of a list."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and isinstance(inner := _member(value, ("error",)), dict):
        value = inner
    return value if isinstance(value, dict) else {}


def _json(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON, also if it is truncated; None if it is no JSON."""
    try:
        return json_fallback.read_text(text)
    except ValueError:
        pass
    if not text.startswith(("{", "[", '"')):
        return None
    for whole in _completed(text):
        try:
            return json_fallback.read_text(whole)
        except ValueError:
            continue
    return None


def _completed(text: str) -> Iterator[str]:
    """Yield completions of a truncated JSON text."""
    open_brackets = []
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            open_brackets.append("]" if token[0] == "[" else "}")
        elif token[0] in "]}":
            if not open_brackets:
                return
            open_brackets.pop()
        elif not token[1]:
            text = _CUT_ESCAPE.sub(r"\1", text) + '"'
    closing = "".join(reversed(open_brackets))
    shorter = text.rstrip(_SCALAR).rstrip().rstrip(",:")
    for beginning in (text, shorter):
        for end in ("", ":null"):
            yield beginning + end + closing


def _of_text(text: str) -> str:
    """Return a text without markup, or nothing if it is binary."""
    text = text[:MAX_CHARS]
    strange = sum(not char.isprintable() and not char.isspace() for char in text) + text.count(_REPLACED)
    return "" if strange * 4 > len(text) or not any(map(str.isalnum, text)) else text


def _of_markup(text: str) -> str:
    """Return the message of HTML or XML: the text of the first element that usually has it, else all text."""
    return next(filter(None, (_element(text, name) for name in _XML_MESSAGE)), "") or _plain(_HIDDEN.sub(" ", text))


def _element(text: str, name: str) -> str:
    """Return the text of the first element of this name, with or without a namespace."""
    found = re.search(rf"<(?:\w+:)?{name}\b[^<>]*>(.*?)(?:</(?:\w+:)?{name}\s*>|$)", text, re.DOTALL | re.IGNORECASE)
    return _plain(found[1]) if found else ""


def _plain(markup: str) -> str:
    text = _CDATA.sub(lambda found: html.escape(found[1]), markup[: 4 * MAX_CHARS])
    return " ".join(html.unescape(_TAG.sub(" ", text)).split())[:MAX_CHARS]
