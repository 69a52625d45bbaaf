"""The seam between the gateway and whatever computes embeddings, and what stands behind it.

__init__   the seam `Upstream`
http       one HTTP call for one input
transport  httpx's interface for what carries requests
pool       the connections to one origin
connection carries one exchange at a time
response_stream the response of an exchange as it arrives
response_parser HTTP/1.1, without I/O
exchange   the facts about an exchange that decide whether it may be repeated
dialer     opens connections: addresses, TLS, proxies
resolver   name lookups, shared and cached
proxies    which proxy, if any
tunnel     CONNECT, and TLS inside
decompression responses with a content coding, in bounded steps
diagnosis  why there is none: exceptions of the network to causes
wire       the API's shapes: domain to form parts, JSON to domain (pure)
multipart  the body of the request, in parts of known length
decoder    the reply, cut into segments as its bytes arrive
refusal    replies that say no, as failures with a reason
hints      what a reply tells of the upstream's rate limits
measured   counts and times the attempts
policies   what holds the promises: deadlines, admission, retries, pacing
"""

import dataclasses
import itertools
from collections.abc import AsyncGenerator
from typing import Protocol

from embedwire_server.domain import Caller, Completion, Input, Model, Segment
from embedwire_server.trace import Trace

# A list, not one by one: each layer takes a step for each.
Part = list[Segment] | Completion

_arrivals = itertools.count()


@dataclasses.dataclass(slots=True)
class UpstreamCall:
    """One input on its way to the upstream.

    `deadline` is a time of the running event loop's clock; nothing may be waited for beyond it.
    `trace` is written by every layer that spends time or makes an attempt. `key` is the caller's own credential
    for the upstream; None is the server's. `caller` shares fairly with others; among its own inputs the lowest
    `arrival` comes first, also when it has to wait again. `needs_fresh_connection` keeps it off idle connections.
    """

    input: Input
    model: Model
    deadline: float
    max_retries: int | None = None
    trace: Trace = dataclasses.field(default_factory=Trace)
    key: str | None = dataclasses.field(default=None, repr=False)
    caller: Caller = ("", "")
    needs_fresh_connection: bool = False
    arrival: int = dataclasses.field(default_factory=_arrivals.__next__)


class Upstream(Protocol):
    """Whatever turns one input into segments. Policies wrap it and have the same face.

    The contract of `embed`:
    - yields the segments in the upstream's order, those that arrive together in one list, as soon as they are decoded;
      at least one; then exactly one `Completion`, which is the last item;
    - a failure is a `GatewayError` and ends the iteration; segments already yielded are void then;
    - the caller may stop early by closing the generator, or be cancelled: connections and files
      are given back before that returns;
    - concurrent calls are independent; the input is neither copied nor changed, so it can be sent again.
    """

    def embed(self, call: UpstreamCall) -> AsyncGenerator[Part]:
        """Embed one input."""
        ...
