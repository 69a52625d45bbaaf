"""Helpers of the tests of the configuration."""

import re
from typing import Any

import pytest

from embedwire_server.config import sources
from embedwire_server.config.errors import InvalidConfiguration
from embedwire_server.config.settings import Settings

SECRET = "tlk_0123456789abcdef"


def load(**flags: Any) -> Settings:
    return sources.load({name: str(value) for name, value in flags.items() if value is not None}).settings


def faults(**flags: Any) -> dict[str, str]:
    """Return the faults of these settings, by name."""
    with pytest.raises(InvalidConfiguration) as caught:
        load(**flags)
    return {_name(fault.source): fault.message for fault in caught.value.faults}


def _name(place: str) -> str:
    name = re.sub(r"^(--|EMBEDWIRE_)", "", place.rpartition(": ")[2]).replace("-", "_").lower()
    return name if "[" in name else name.replace(".", "_")
