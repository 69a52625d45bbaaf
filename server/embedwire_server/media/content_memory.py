"""The memory for the content of calls: what came in their requests, and what has arrived of their uploads.

Bytes are charged when they have arrived, never before: a caller that declares much and sends nothing holds nothing.
A request whose content does not fit is refused. An upload whose bytes do not fit goes on, on disk: uploads never wait
for memory, so those that have half arrived cannot wait for each other.
"""

import dataclasses

from embedwire_server.core.fair_share import FairShare
from embedwire_server.core.inputs import Caller

# So much of the content that still fits may come in one call: files that wait for quota leave room for texts.
_SHARE_OF_FREE = 0.5
# Requests with so little content are not counted by caller: their number is limited, and texts have to be cheap.
_SMALL_BYTES = 64 << 10


class ContentMemory:
    """Counts the content in memory, all calls together.

    Args:
        most: bytes. Uploads use at most half of them, since they can go to disk and requests cannot.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._requests = FairShare(most, most // 4)
        self._uploads = FairShare(most // 2, most // 8)

    @property
    def taken(self) -> int:
        """Bytes that are held."""
        return self._requests.taken + self._uploads.taken

    def resize(self, most: int) -> None:
        """Go by another number from now on; what is held stays."""
        self._most = most
        self._requests.most, self._requests.guaranteed = most, most // 4
        self._uploads.most, self._uploads.guaranteed = most // 2, most // 8

    def size_of(self, content_bytes: int) -> int:
        """What a request with so much content is charged: one that is larger than everything may run alone."""
        return min(content_bytes, self._most)

    def fits_request(self, caller: Caller, size: int) -> bool:
        """Whether there is room for a request with so many bytes of content."""
        if not self._requests.taken:
            return True  # whatever its size, a single request can run
        if size > _SHARE_OF_FREE * (self._most - self.taken):
            return False
        return size <= _SMALL_BYTES or self._requests.fits(caller, size)

    def hold_request(self, caller: Caller, size: int, sign: int = 1) -> None:
        """Charge the content of a request; with `sign` -1 release it."""
        if size <= _SMALL_BYTES:
            self._requests.taken += sign * size
        else:
            self._requests.change(caller, sign * size)

    def fits_upload(self, caller: Caller, size: int) -> bool:
        """Whether so many bytes of an upload may stay in memory."""
        return self.taken + size <= self._most and self._uploads.fits(caller, size)

    def hold_upload(self, caller: Caller, size: int) -> None:
        """Charge bytes of an upload that have arrived; a negative number releases them."""
        self._uploads.change(caller, size)

    def account(self, caller: Caller) -> "UploadAccount":
        """What the uploads of one call are charged to."""
        return UploadAccount(self, caller)


@dataclasses.dataclass(frozen=True, slots=True)
class UploadAccount:
    """The memory for uploads, as one caller uses it."""

    memory: ContentMemory
    caller: Caller

    def hold(self, size: int) -> bool:
        """Charge bytes that have arrived; whether they may stay in memory."""
        fits = self.memory.fits_upload(self.caller, size)
        self.memory.hold_upload(self.caller, size)
        return fits

    def release(self, size: int) -> None:
        """Give back what was charged."""
        self.memory.hold_upload(self.caller, -size)
