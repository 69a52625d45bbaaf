"""Options of the sandbox."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from embedwire_sandbox.models import Category

BadMediaReply = Literal["auto", "reject", "report"]
LongTextReply = Literal["truncate", "report", "reject"]
Transcription = Literal["same", "other", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """Options of one sandbox: its limits, and its behaviour where the upstream's is unknown.

    By default, everything that the official SDK can send is accepted. Where the upstream's behaviour is unknown, an
    option has each plausible one, and the default is an inference.

    Attributes:
        api_key: The only key accepted. `None` accepts any key that is not empty.
        strict: Refuse model aliases, unknown parts (`parameter_unknown`) and empty url or offset parts.
        retire_marengo_27: Refuse Marengo 2.7 as an unknown model, as the upstream does since its sunset.
        disable_v1: Respond to `/embed` with 404, like an API that does not have this path any more.
        disable_v2: Respond to the paths of v2 and of assets with 404.
        requests_per_minute: Requests allowed per quota window, by category: `text`, `image`, `audio`, or `asset` for
            the creation of assets. A category without an entry is not limited; its headers show a large limit. Polls,
            lists and deletions are not limited.
        quota_window_sec: Length of a quota window in seconds. Tests shorten it so as not to wait.
        empty_429: Answer 429 with an empty body in place of JSON. The upstream documents both.
        retry_after: Send `Retry-After` with a 429 of the quota.
        bad_media: Response to an image or audio that cannot be embedded. `reject`: HTTP 400. `report`: HTTP 200
            with `error_message`. `auto`, an inference: 400 if it was the only input, else 200.
        long_text: Response to text over the limit of Marengo 3.0. `truncate` is documented, `report` (HTTP 200 with
            `error_message`) was observed by a third party, `reject` is HTTP 400.
        paired_options: Marengo 3.0 returns `audio` and `transcription` for each window, or `audio` alone.
        end_offsets: Marengo 3.0 returns `end_offset_sec`.
        fault_control: Let clients script faults over HTTP. Every client that can connect can do so.
        any_url: Fetch URLs of any host. By default only loopback addresses are fetched.
        fetch_timeout_sec: Timeout for one fetch, in seconds.
        latency_sec: Delay before every response to an embedding call, in seconds.
        max_field_bytes: Largest text or other field part, in bytes.
        max_file_bytes: Largest uploaded or fetched file, in bytes. The models' own limits may be lower.
        max_body_bytes: Largest request body, in bytes.
        max_image_pixels: Largest image that is decoded, in pixels.
        nested_errors: v2 answers with nested error documents. By default they are flat, as integrators report; the
            vendor's specification says nested. A 413, and the 404 of a task, are nested in any case.
        over_limit_status: Status of a synchronous v2 call with media that are too long or too large; the vendor
            documents both.
        shuffle_data: v2 returns `data` in an order that is neither that of time nor of options. The same call always
            gets the same order.
        shuffle_seed: Selects the order.
        transcription: Windows of the `transcription` vectors of Marengo 3.0 in v2: those of `audio`; other ones; or no
            such vectors at all.
        task_polls: Number of polls that find a task `processing`.
        task_seconds: A task is `processing` for at least this time, in seconds.
        task_expiry_sec: Tasks are forgotten after this time, in seconds.
        task_failure: All tasks fail with this message.
        task_outlives_asset: A task also succeeds if its asset is deleted while it is `processing`.
        asset_polls: Number of polls that find an asset `processing`.
        asset_seconds: An asset is `processing` for at least this time, in seconds.
        max_asset_bytes: Largest file of a direct upload, in bytes.
        max_upload_bytes: Largest file of an upload in chunks, in bytes.
        chunk_bytes: Size of each chunk but the last, in bytes.
        first_chunk_urls: Number of presigned URLs in the response to the creation of an upload.
        chunk_url_sec: Validity of a presigned URL, in seconds.
        upload_sec: Validity of an upload in chunks, in seconds.
        max_sync_audio_sec: Longest audio of a synchronous call with Marengo 2.7 and 3.0, in seconds.
        max_task_audio_sec: Longest audio of a task, in seconds.
        max_audio_samples: Limit of decoded samples of one audio file, all channels together. The default is four hours,
            the longest that the upstream accepts, in stereo at 48 kHz.
    """

    api_key: str | None = field(default=None, repr=False)
    strict: bool = False
    retire_marengo_27: bool = False
    disable_v1: bool = False
    disable_v2: bool = False
    requests_per_minute: Mapping[Category, int] = field(default_factory=dict)
    quota_window_sec: float = 60.0
    empty_429: bool = False
    retry_after: bool = True
    bad_media: BadMediaReply = "auto"
    long_text: LongTextReply = "truncate"
    paired_options: bool = True
    end_offsets: bool = True
    fault_control: bool = True
    any_url: bool = False
    fetch_timeout_sec: float = 10.0
    latency_sec: float = 0.0
    max_field_bytes: int = 1 << 20
    max_file_bytes: int = 256 << 20
    max_body_bytes: int = 512 << 20
    max_image_pixels: int = 50_000_000
    nested_errors: bool = False
    over_limit_status: Literal[400, 413] = 400
    shuffle_data: bool = True
    shuffle_seed: int = 0
    transcription: Transcription = "same"
    task_polls: int = 1
    task_seconds: float = 0.0
    task_expiry_sec: float = 7 * 86_400.0
    task_failure: str | None = None
    task_outlives_asset: bool = False
    asset_polls: int = 1
    asset_seconds: float = 0.0
    max_asset_bytes: int = 200_000_000
    max_upload_bytes: int = 10_000_000_000
    chunk_bytes: int = 5 << 20
    first_chunk_urls: int = 10
    chunk_url_sec: float = 3_600.0
    upload_sec: float = 86_400.0
    max_sync_audio_sec: float = 600.0
    max_task_audio_sec: float = 14_400.0
    max_audio_samples: int = 4 * 3_600 * 2 * 48_000
