"""Table of cases: the call, its faults, and the listed deviation of the drop-in, if there is one."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

from embedwire_sandbox import Fault
from tests.e2e.dropin.sides import Arguments, Materials
from tests.support.media import Pipe, flac, jpeg, mp3, png, wav
from tests.support.ports import NO_SERVER

OLD, NEW = "Marengo-retrieval-2.7", "marengo3.0"
LONG = "word " * 78


@dataclasses.dataclass(frozen=True)
class Case:
    """One call.

    `own_words`: both refuse with the same exception, status and code, each with its own message. `deviation`: the
    name of an entry in docs/drop-in.md; `official` and `ours` are then what to expect: an exception's name and
    status, or None for a result.
    """

    arguments: Arguments
    faults: Sequence[Fault] = ()
    sandbox: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    own_words: bool = False
    deviation: str = ""
    official: tuple[str, int | None] | None = None
    ours: tuple[str, int | None] | None = None


def call(**arguments: Any) -> Arguments:
    return lambda _: arguments


def body(**parameters: Any) -> dict[str, Any]:
    return {"request_options": {"additional_body_parameters": parameters}}


AT_ONCE = {"Retry-After": "0.01"}
ONCE: Any = {"max_retries": 0}
OWN = {"empty_429": False}  # the default value, given explicitly: a case with options gets a server of its own


def failing(status: int, **more: Any) -> tuple[Fault, ...]:
    return (Fault("status", status=status, times=None, **more),)


def three_files(at: Materials) -> dict[str, Any]:
    return {"text": "x", "image_file": at.opened("p.png", png()), "audio_file": at.opened("a.flac", flac(7))}


def three_urls(at: Materials) -> dict[str, Any]:
    urls = {"image_url": f"{at.url}/picture", "audio_url": f"{at.url}/sound"}
    return {"text": "a red fox", **urls, "audio_start_offset_sec": 1.0}


BAD = ("BadRequestError", 400)
REPORT = {"bad_media": "report"}

AGREE: dict[str, Case] = {
    "text": Case(call(text="a red fox in the snow")),
    "text 2.7": Case(call(model_name=OLD, text="a red fox in the snow")),
    "text with line ends and other scripts": Case(call(text="héllo\r\nwörld 木 🦊")),
    "alias of the model": Case(call(model_name="marengo2.7", text="x")),
    "another alias": Case(call(model_name="marengo-retrieval-2.7", text="x")),
    "long text 3.0": Case(call(text="word " * 501)),
    "truncate start": Case(call(model_name=OLD, text="first " + LONG, **body(text_truncate="start"))),
    "truncate end": Case(call(model_name=OLD, text="first " + LONG, **body(text_truncate="end"))),
    "open file": Case(lambda at: {"image_file": at.opened("pic.png", png())}),
    "partly read file": Case(lambda at: {"image_file": at.opened("pic.png", png(), 40)}),
    "other scripts in the name": Case(lambda at: {"image_file": at.opened("Bäume und 木.png", png())}),
    "quotes in the name": Case(lambda at: {"image_file": at.opened('a "b"; c; d.png', png())}),
    "backslash in the name": Case(lambda _: {"image_file": ("C:\\x.png", png())}),
    "bytes": Case(call(image_file=jpeg())),
    "BytesIO": Case(lambda _: {"image_file": io.BytesIO(png())}),
    "stream that cannot be rewound": Case(lambda _: {"image_file": Pipe(png())}),
    "name and bytes": Case(call(image_file=("x.jpg", jpeg()))),
    "name and file": Case(lambda at: {"image_file": ("other.png", at.opened("pic.png", png()))}),
    "name, bytes and type": Case(call(image_file=("x.png", png(), "text/plain"))),
    "image 2.7": Case(call(model_name=OLD, image_file=png(64, 64))),
    "wav": Case(lambda at: {"audio_file": at.opened("a.wav", wav(7))}),
    "flac": Case(lambda at: {"audio_file": at.opened("a.flac", flac(13))}),
    "mp3": Case(lambda at: {"audio_file": at.opened("a.mp3", mp3(7))}),
    "audio 2.7": Case(call(model_name=OLD, audio_file=wav(16, rate=8000))),
    "offset 0": Case(call(audio_file=wav(8, rate=8000), audio_start_offset_sec=0)),
    "offset 1": Case(call(audio_file=wav(8, rate=8000), audio_start_offset_sec=1)),
    "offset 1.5": Case(call(audio_file=wav(8, rate=8000), audio_start_offset_sec=1.5)),
    "tiny offset": Case(call(audio_file=wav(8, rate=8000), audio_start_offset_sec=1e-07)),
    "one option, no ends": Case(call(audio_file=wav(7)), sandbox={"paired_options": False, "end_offsets": False}),
    "more than 1 MiB": Case(lambda at: {"audio_file": at.opened("long.wav", wav(60))}),
    "image url": Case(lambda at: {"image_url": f"{at.url}/picture"}),
    "audio url and offset": Case(lambda at: {"audio_url": f"{at.url}/sound", "audio_start_offset_sec": 2}),
    "url beats file": Case(lambda at: {"image_url": f"{at.url}/picture", "image_file": b"no picture"}),
    "explicit None": Case(call(image_url=None, image_file=png(), audio_url=None, audio_file=None)),
    "three files": Case(three_files),
    "three urls": Case(three_urls),
    "options": Case(call(text="x", request_options={"timeout_in_seconds": 20, "max_retries": 0, "chunk_size": 1000})),
    "request id": Case(call(text="x", request_options={"additional_headers": {"X-Request-Id": "abc"}})),
    "one of several failed": Case(lambda at: {**three_files(at), "image_file": b"broken"}, sandbox=REPORT),
    "audio of several failed": Case(
        lambda at: {**three_urls(at), "audio_url": None, "audio_file": at.opened("b.mp3", b"broken")},
        sandbox=REPORT,
    ),
    "text of several failed": Case(
        lambda at: {**three_files(at), "text": "word " * 501}, sandbox={"long_text": "report"}
    ),
    # Rejected with the same message
    "text too long 2.7": Case(call(model_name=OLD, text=LONG, **body(text_truncate="none"))),
    "wrong truncation": Case(call(model_name=OLD, text="x", **body(text_truncate="middle"))),
    "text too long 3.0": Case(call(text="word " * 501), sandbox={"long_text": "reject"}),
    "blank text": Case(call(text=" \n")),
    "broken png": Case(call(image_file=png()[:-30])),
    "gif": Case(call(image_file=b"GIF89a" + bytes(100))),
    "small image": Case(call(image_file=png(127, 300))),
    "small image 2.7": Case(call(model_name=OLD, image_file=png(64, 63))),
    "sound as image": Case(call(image_file=wav(1))),
    "image as audio": Case(call(audio_file=png())),
    "cut flac": Case(call(audio_file=flac(4)[:3000])),
    "offset at the end": Case(call(audio_file=wav(2), audio_start_offset_sec=2)),
    "url of another host": Case(call(image_url="http://192.0.2.1/a.png")),
    "url without a server": Case(call(image_url=f"http://{NO_SERVER}/a.png")),
    "url that is missing": Case(lambda at: {"audio_url": f"{at.url}/missing"}),
    "retired model": Case(call(model_name=OLD, text="x"), sandbox={"retire_marengo_27": True}),
    "wrong key": Case(call(text="x"), sandbox={"api_key": "right"}),
    "no credit": Case(call(text="x"), failing(402, body='{"code": "usage_limit_exceeded", "message": "No credit."}')),
    "not allowed": Case(call(text="x"), failing(403, body='{"code": "api_not_allowed", "message": "Not you."}')),
    "conflict": Case(call(text="x"), failing(409, body='{"code": "conflict", "message": "Again."}')),
    "too large": Case(call(image_file=png()), failing(413, body='{"code": "too_large", "message": "Too large."}')),
    "rate limited": Case(
        call(text="x", request_options=ONCE),
        failing(429, body='{"code": "too_many_requests", "message": "Slow."}', headers=AT_ONCE),
        sandbox=OWN,
    ),
    "rate limited, all of three": Case(
        lambda at: {**three_files(at), "request_options": ONCE},
        failing(429, body='{"code": "too_many_requests", "message": "S"}', headers=AT_ONCE),
        sandbox=OWN,
    ),
    "server error": Case(call(text="x"), failing(500, body='{"code": "internal_server_error", "message": "Oops."}')),
    "text-mode file": Case(lambda at: {"image_file": at.stack.enter_context(at.saved("t.txt", b"x").open())}),
    "unknown argument": Case(call(text="x", colour="blue")),
    # Rejected by the server itself, with the same exception, status and code
    "no model": Case(call(model_name="", text="x"), own_words=True),
    "unknown model": Case(call(model_name="marengo9", text="x"), own_words=True),
    "no input": Case(call(), own_words=True),
    "empty text": Case(call(text=""), own_words=True),
    "empty image": Case(call(image_file=b""), own_words=True),
    "empty audio": Case(call(audio_file=b""), own_words=True),
    "negative offset": Case(call(audio_file=wav(2), audio_start_offset_sec=-3), own_words=True),
    "url without scheme": Case(call(audio_url="a.mp3"), own_words=True),
    "url of a file": Case(call(audio_url="file:///etc/hosts"), own_words=True),
    "large image 2.7": Case(call(model_name=OLD, image_file=png() + bytes(6_000_000)), own_words=True),
}

DEVIATE: dict[str, Case] = {
    "a path as str": Case(
        lambda at: {"image_file": str(at.saved("pic.png", png()))}, deviation="Paths", official=BAD, ours=None
    ),
    "a path as Path": Case(
        lambda at: {"image_file": at.saved("pic.png", png())}, deviation="Paths", official=("AttributeError", None)
    ),
    "a path to nowhere": Case(
        call(image_file="nowhere.png"), deviation="Paths", official=BAD, ours=("FileNotFoundError", None)
    ),
    "a bytearray": Case(call(image_file=bytearray(png())), deviation="Paths", official=("AttributeError", None)),
    "text_truncate": Case(
        call(model_name=OLD, text=LONG, text_truncate="start"),
        deviation="`text_truncate`",
        official=("TypeError", None),
    ),
    "headers of a file": Case(
        call(image_file=("x", png(), "image/png", {"X-Extra": "1"})), deviation="Options", ours=("ValueError", None)
    ),
    "an unknown body parameter": Case(
        call(text="x", **body(colour="blue")), deviation="Options", ours=("ValueError", None)
    ),
    "a query parameter": Case(
        call(text="x", request_options={"additional_query_parameters": {"a": "b"}}),
        deviation="Options",
        ours=("ValueError", None),
    ),
    "a key in the headers": Case(
        call(text="x", request_options={"additional_headers": {"x-api-key": "k"}}),
        deviation="Options",
        ours=("ValueError", None),
    ),
    "several texts": Case(call(text=["a", "b"]), deviation="Types", ours=("TypeError", None)),
    "a number as text": Case(call(text=123), deviation="Types", ours=("TypeError", None)),
    "an offset as str": Case(
        call(audio_file=wav(8), audio_start_offset_sec="2.5"), deviation="Types", ours=("TypeError", None)
    ),
    "several files": Case(
        call(image_file=[("a.png", png()), ("b.png", png())]), deviation="Types", ours=("TypeError", None)
    ),
    "everything failed, with status 200": Case(
        call(text="word " * 501),
        sandbox={"long_text": "report"},
        deviation="Everything failed",
        ours=BAD,
    ),
    "all of several failed": Case(
        call(image_file=b"broken", audio_file=b"broken"), deviation="Everything failed", ours=BAD
    ),
    "one of several failed, in its words alone": Case(
        lambda at: {**three_files(at), "image_file": b"broken"}, deviation="One of several"
    ),
    "the url of one of several": Case(
        lambda at: {**three_urls(at), "image_url": f"{at.url}/missing"}, deviation="One of several", official=BAD
    ),
    "one of several refused": Case(
        lambda at: {**three_files(at), "image_file": b"broken"},
        sandbox={"bad_media": "reject"},
        deviation="One of several",
        official=BAD,
    ),
    "a bad gateway's page": Case(
        call(text="x"),
        failing(503, body="<html>", content_type="text/html"),
        deviation="Bodies that are not JSON",
        official=("ApiError", 503),
        ours=("ApiError", 503),
    ),
    "429 without a body": Case(
        call(text="x", request_options=ONCE),
        failing(429, body="", headers=AT_ONCE),
        sandbox=OWN,
        deviation="Bodies that are not JSON",
        official=("ApiError", 429),
        ours=("ApiError", 429),
    ),
    "a reply that is not JSON": Case(
        call(text="x"),
        (Fault("malformed_json", times=None),),
        deviation="Replies that cannot be used",
        official=("ApiError", 200),
        ours=("ApiError", 500),
    ),
    "a reply without a model": Case(
        call(text="x"),
        (Fault("no_model_name", times=None),),
        deviation="Replies that cannot be used",
        official=("ValidationError", None),
        ours=("ApiError", 500),
    ),
    "a reply that is cut": Case(
        call(text="x"),
        (Fault("cut", after_bytes=500, times=None),),
        deviation="Replies that cannot be used",
        official=("RemoteProtocolError", None),
        ours=("ApiError", 503),
    ),
    "a connection that breaks": Case(
        call(text="x"),
        (Fault("reset", times=None),),
        deviation="Transport",
        official=("ReadError", None),
        ours=("ApiError", 503),
    ),
    "a timeout": Case(
        call(text="x", request_options={"timeout_in_seconds": 0.2}),
        (Fault("delay", delay_sec=1, times=None),),
        deviation="Deadlines",
        official=("ReadTimeout", None),
        ours=("ApiTimeoutError", 504),
    ),
    "one retry": Case(
        call(text="x", request_options={"max_retries": 1}),
        (Fault("status", status=503, times=1),),
        deviation="Retries",
        official=("ApiError", 503),
    ),
    "a file that is retried": Case(
        lambda at: {"image_file": at.opened("pic.png", png()), "request_options": {"max_retries": 3}},
        (Fault("status", status=429, times=1, headers={"Retry-After": "0"}),),
        deviation="Retries",
        official=BAD,
    ),
    "no name": Case(call(image_file=(None, png())), deviation="Names"),
}
