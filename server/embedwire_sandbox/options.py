"""Options of the sandbox."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from embedwire_sandbox.models import Modality

BadMediaReply = Literal["auto", "reject", "report"]
LongTextReply = Literal["truncate", "report", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """Options of one sandbox: its limits, and its behaviour where the upstream's is unknown.

    By default, everything that the official SDK can send is accepted. Where the upstream's behaviour is unknown, an
    option has each plausible one, and the default is an inference.

    Attributes:
        api_key: The only key accepted. `None` accepts any key that is not empty.
        strict: Refuse model aliases, unknown parts (`parameter_unknown`) and empty url or offset parts.
        retire_marengo_27: Refuse Marengo 2.7 as an unknown model, as the upstream does since its sunset.
        requests_per_minute: Requests allowed per quota window, by modality. A modality without an entry is not
            limited; its headers show a large limit.
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
        max_sync_audio_sec: Longest audio of a synchronous call with Marengo 2.7 and 3.0, in seconds.
        max_audio_samples: Limit of decoded samples of one audio file, all channels together. The default is four hours,
            the longest that the upstream accepts, in stereo at 48 kHz.
    """

    api_key: str | None = field(default=None, repr=False)
    strict: bool = False
    retire_marengo_27: bool = False
    requests_per_minute: Mapping[Modality, int] = field(default_factory=dict)
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
    max_sync_audio_sec: float = 600.0
    max_audio_samples: int = 4 * 3_600 * 2 * 48_000
