"""Models and limits of the v2 dialect. Sources: upstream API notes, section 11."""

from dataclasses import dataclass
from typing import Final

from embedwire_sandbox.models import MARENGO_30, MARENGO_35, Model

_MB: Final = 1_000_000

DIMENSIONS: Final = (128, 256, 512)
TASK_MIN_SEC: Final = 4.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one model.

    Attributes:
        model: The model.
        sync_bytes: Largest file of a synchronous call by URL or asset id, if there is a limit.
        base64_bytes: Largest decoded base64 string of a synchronous call.
        sync_audio_sec: Longest audio of a synchronous call, if an option does not set it.
        task_base64_bytes: Largest decoded base64 string of a task.
        windows: Shortest and longest duration of a fixed segment, in seconds.
    """

    model: Model
    sync_bytes: int | None
    base64_bytes: int
    sync_audio_sec: float | None
    task_base64_bytes: int
    windows: tuple[int, int]

    @property
    def is_newer(self) -> bool:
        """Whether it is Marengo 3.5."""
        return self.model is MARENGO_35


LIMITS_30: Final = Limits(MARENGO_30, None, 36 * _MB, None, 36 * _MB, (2, 10))
LIMITS_35: Final = Limits(MARENGO_35, 32 * _MB, 32 * _MB, 30.0, 36 * _MB, (1, 10))
BY_NAME: Final = {limits.model.name: limits for limits in (LIMITS_30, LIMITS_35)}
