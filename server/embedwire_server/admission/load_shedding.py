"""Load shedding: a request is admitted or rejected as a whole, before its first event, so that a client may retry it.

Inputs are counted by modality, so that audio that waits for quota does not starve text, and their content in bytes. The
inputs of an admitted request wait for the concurrency limit, but are never rejected.
"""

import random
import time

from embedwire_server.config.settings import ConcurrencySettings, Settings
from embedwire_server.core.errors import Overloaded
from embedwire_server.core.fair_share import FairShare
from embedwire_server.core.inputs import Caller, EmbedRequest
from embedwire_server.core.models import Modality
from embedwire_server.media.memory_budget import ContentMemory
from embedwire_server.observability.metrics import Metrics

_FIRST_GUESS, _LEAST_DELAY, _LONGEST_DELAY = 0.5, 0.1, 30.0
_RECENT = 0.05  # the weight of the newest figure in a moving average
# Rejected callers retry, and each rejection costs about half a call. So the more rejections there are for each admitted
# call, the longer is their delay. The number of rejections then grows only with the root of the overload.
_REJECTION_WEIGHT = 10


def capacities(settings: ConcurrencySettings) -> dict[str, int]:
    """Return the configured capacities, as the arguments of `LoadShedder`."""
    return {
        "in_flight": settings.inputs_per_modality,
        "queued": settings.queue_per_modality,
        "content_bytes": settings.max_buffered_bytes,
    }


class LoadShedder:
    """Bounds the inputs that run or wait, and the memory for their content; rejects requests beyond that.

    Args:
        metrics: record the capacity in use, and rejections.
        in_flight: inputs of each modality that run at a time.
        queued: inputs of each modality that wait beside those.
        content_bytes: bytes of content in memory, for all calls together.

    Attributes:
        content_memory: the memory budget for content; uploads are charged to it as they arrive.
    """

    def __init__(self, metrics: Metrics, *, in_flight: int, queued: int, content_bytes: int) -> None:
        self._metrics = metrics
        self._queues = {modality: _ModalityQueue(metrics, modality, in_flight, queued) for modality in Modality}
        self.content_memory = ContentMemory(content_bytes)
        metrics.content_bytes.set_function(lambda: self.content_memory.taken)

    @property
    def is_idle(self) -> bool:
        """Whether no admitted request holds capacity."""
        return not self.content_memory.taken and all(queue.share.is_idle for queue in self._queues.values())

    def admit(self, request: EmbedRequest, at_once: int) -> "Admission":
        """Hold the capacity that a request needs while `at_once` of its inputs run at a time.

        Returns:
            A context manager; leaving it releases the capacity.

        Raises:
            Overloaded: there is not enough capacity; `retry_delay` is the delay after which to retry.
        """
        needs: dict[Modality, int] = {}
        for item in request.inputs:
            needs[item.modality] = needs.get(item.modality, 0) + 1
        memory = self.content_memory
        size = memory.size_of(request.content_bytes)
        if not memory.fits_request(request.caller, size):
            self._metrics.refusals.labels("content_bytes").inc()
            delay = max(self._queues[modality].delay() for modality in needs)
            raise Overloaded("too much content is in memory; retry later", retry_delay=delay)
        queues = [(queue := self._queues[name], min(count, at_once, queue.share.most)) for name, count in needs.items()]
        for queue, count in queues:
            queue.check(request.caller, count)
        return Admission(memory, queues, request.caller, size)

    def reconfigure(self, settings: Settings) -> None:
        """Use these settings for later requests; see `resize`."""
        self.resize(**capacities(settings.concurrency))

    def resize(self, *, in_flight: int, queued: int, content_bytes: int) -> None:
        """Use other capacities from now on; admitted requests stay."""
        self.content_memory.resize(content_bytes)
        for queue in self._queues.values():
            queue.resize(in_flight, queued)


class Admission:
    """The capacity that one request holds from now on until the block is left."""

    __slots__ = ("_began", "_caller", "_memory", "_queues", "_size")

    def __init__(
        self, memory: ContentMemory, queues: list[tuple["_ModalityQueue", int]], caller: Caller, size: int
    ) -> None:
        self._memory, self._queues, self._caller, self._size = memory, queues, caller, size
        for queue, count in queues:
            queue.acquire(caller, count)
        memory.hold_request(caller, size)
        self._began = time.perf_counter()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._memory.hold_request(self._caller, self._size, -1)
        seconds = time.perf_counter() - self._began
        for queue, count in self._queues:
            queue.release(self._caller, count, seconds)


class _ModalityQueue:
    """Queue capacity of one modality: admitted inputs never exceed the sum of `in_flight` and `queued`."""

    def __init__(self, metrics: Metrics, modality: Modality, in_flight: int, queued: int) -> None:
        self._metrics = metrics
        self._modality = modality
        self.share = FairShare(in_flight + queued, in_flight)
        self._seconds = _FIRST_GUESS  # duration of a call, moving average
        self._rejected = 0.0  # rejected for each admitted call, moving average

    def resize(self, in_flight: int, queued: int) -> None:
        """Use other capacities from now on."""
        self.share.most, self.share.guaranteed = in_flight + queued, in_flight

    def check(self, caller: Caller, count: int) -> None:
        """Check that there is capacity for a call that runs up to `count` inputs at a time.

        Raises:
            Overloaded: there is no capacity, or the caller already holds its share.
        """
        if not self.share.fits(caller, count):
            self._rejected += _RECENT
            self._metrics.refusals.labels(self._modality).inc()
            raise Overloaded(f"too many {self._modality} inputs are in flight; retry later", retry_delay=self.delay())

    def acquire(self, caller: Caller, count: int) -> None:
        """Take capacity for an admitted call."""
        self._rejected -= _RECENT * self._rejected
        self.share.change(caller, count)

    def release(self, caller: Caller, count: int, seconds: float) -> None:
        """Release the capacity of a call that took `seconds`."""
        self.share.change(caller, -count)
        self._seconds += _RECENT * (seconds - self._seconds)

    def delay(self) -> float:
        """Return the seconds after which a rejected caller may retry: with jitter, and longer the more are rejected."""
        likely = self._seconds * (1 + _REJECTION_WEIGHT * self._rejected)
        return min(max(likely, _LEAST_DELAY), _LONGEST_DELAY) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
