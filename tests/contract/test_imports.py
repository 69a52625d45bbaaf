"""The contract compiles with any toolchain."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_contract_imports_only_well_known_types() -> None:
    """The .proto files import only well-known types, so any toolchain compiles them without further files."""
    for proto in (ROOT / "proto").rglob("*.proto"):
        imports = re.findall(r'^import "(.+)";', proto.read_text(), re.MULTILINE)
        assert all(name.startswith(("google/protobuf/", "embedwire/v1/")) for name in imports)
