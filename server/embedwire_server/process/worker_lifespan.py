"""Lifespan of a worker: the silence after which it is killed, the age and memory at which it is replaced."""

import math
import random
from typing import NamedTuple, Self

from embedwire_server.config.fields import MIB
from embedwire_server.config.settings import Settings

START_TIMEOUT = 60.0  # seconds from the spawn to the first heartbeat: Python has to start and to import
LIFESPAN_JITTER = 0.1  # the fraction by which the limits are lowered at most


class Timeouts(NamedTuple):
    """Heartbeat timeouts, after which a worker counts as hung.

    Attributes:
        silence: seconds without a heartbeat.
        start: seconds from the spawn to the first heartbeat.
    """

    silence: float
    start: float = START_TIMEOUT

    @property
    def heartbeat(self) -> float:
        """Seconds between two heartbeats, so short that a single late one does not matter."""
        return min(1.0, self.silence / 10)


class Lifespan(NamedTuple):
    """Age and memory limits, beyond which a worker is replaced.

    Attributes:
        age: seconds since the spawn.
        memory: bytes of resident memory.
    """

    age: float = math.inf
    memory: float = math.inf

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the limits of one worker: up to 10 % below the configured ones, at random, to spread replacements."""
        age, memory = settings.workers.max_age, settings.workers.max_memory
        share = 1 - random.uniform(0, LIFESPAN_JITTER)  # noqa: S311 - no secret
        return cls(math.inf if age is None else share * age, math.inf if memory is None else share * memory * MIB)
