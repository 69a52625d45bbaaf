"""Memory budget for the content of calls: that of their requests, and the received part of their uploads.

Bytes are charged when they have arrived, never before: a caller that declares much and sends nothing holds nothing.
A request whose content does not fit is rejected. An upload whose bytes do not fit continues on disk: uploads never wait
for memory, so partly received ones cannot deadlock.
"""

import dataclasses

from embedwire_server.core.fair_share import FairShare
from embedwire_server.core.inputs import Caller

# The part of the free memory that one call may use: files that wait for quota leave the rest for texts.
_SHARE_OF_FREE = 0.5
# Requests with at most this content are not counted by caller: their number is limited, and texts have to be cheap.
_SMALL_BYTES = 64 << 10


class ContentMemory:
    """Memory budget for content, for all calls together.

    Args:
        most: bytes. Uploads use at most half of them, since they can go to disk and requests cannot.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._requests = FairShare(most, most // 4)
        self._uploads = FairShare(most // 2, most // 8)

    @property
    def taken(self) -> int:
        """Bytes in use."""
        return self._requests.taken + self._uploads.taken

    def resize(self, most: int) -> None:
        """Use another budget from now on; bytes in use stay."""
        self._most = most
        self._requests.most, self._requests.guaranteed = most, most // 4
        self._uploads.most, self._uploads.guaranteed = most // 2, most // 8

    def size_of(self, content_bytes: int) -> int:
        """Return the charge for a request with this content: a request larger than the budget may run alone."""
        return min(content_bytes, self._most)

    def fits_request(self, caller: Caller, size: int) -> bool:
        """Return whether a request with `size` bytes of content fits."""
        if not self._requests.taken:
            return True  # whatever its size, a single request can run
        if size > _SHARE_OF_FREE * (self._most - self.taken):
            return False
        return size <= _SMALL_BYTES or self._requests.fits(caller, size)

    def hold_request(self, caller: Caller, size: int, sign: int = 1) -> None:
        """Charge the content of a request; with `sign` -1, release it."""
        if size <= _SMALL_BYTES:
            self._requests.taken += sign * size
        else:
            self._requests.change(caller, sign * size)

    def fits_upload(self, caller: Caller, size: int) -> bool:
        """Return whether `size` bytes of an upload may stay in memory."""
        return self.taken + size <= self._most and self._uploads.fits(caller, size)

    def hold_upload(self, caller: Caller, size: int) -> None:
        """Charge received bytes of an upload; a negative number releases them."""
        self._uploads.change(caller, size)

    def account(self, caller: Caller) -> "UploadAccount":
        """Return the account that the uploads of one call are charged to."""
        return UploadAccount(self, caller)


@dataclasses.dataclass(frozen=True, slots=True)
class UploadAccount:
    """The memory for uploads, as one caller uses it."""

    memory: ContentMemory
    caller: Caller

    def hold(self, size: int) -> bool:
        """Charge received bytes; return whether they may stay in memory."""
        fits = self.memory.fits_upload(self.caller, size)
        self.memory.hold_upload(self.caller, size)
        return fits

    def release(self, size: int) -> None:
        """Release charged bytes."""
        self.memory.hold_upload(self.caller, -size)
