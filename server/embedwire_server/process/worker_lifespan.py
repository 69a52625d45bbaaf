"""Lifespan of a worker: the age and memory at which it is replaced."""

import math
import random
from typing import NamedTuple, Self

from embedwire_server.config.fields import MIB
from embedwire_server.config.settings import Settings

LIFESPAN_JITTER = 0.1  # the fraction by which the limits are lowered at most


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
