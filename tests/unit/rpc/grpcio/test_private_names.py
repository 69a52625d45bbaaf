"""The use of private names of grpcio is restricted to one folder."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[4] / "server/embedwire_server"
PRIVATE = SERVER / "rpc/grpcio"
FILES = sorted(SERVER.rglob("*.py"))
OWN = {"self", "cls"}


def private_names(tree: ast.AST) -> Iterator[str]:
    """Return imports of private modules of grpcio, and private attributes of objects of other classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            module = getattr(node, "module", None) or ""
            for name in (f"{module}.{alias.name}" if module else alias.name for alias in node.names):
                if name.startswith("grpc") and any(
                    part.startswith("_") or part == "cygrpc" for part in name.split(".")
                ):
                    yield name
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = ast.unparse(node.value)
            if owner not in OWN:
                yield f"{owner}.{node.attr}"


def test_search_finds_private_names() -> None:
    """The search finds the private names in the folder itself, one in a subclass of a future among them."""
    found = {name for path in PRIVATE.glob("*.py") for name in private_names(ast.parse(path.read_text()))}
    assert {"grpc._cython.cygrpc", "server._server", "cygrpc._schedule_rpc_coro"} <= found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVER)))
def test_private_names(path: Path) -> None:
    """No file outside the folder uses a private name of grpcio, and none in `rpc` any private name."""
    found = set(private_names(ast.parse(path.read_text())))
    if PRIVATE in path.parents:
        return
    assert not {name for name in found if name.startswith("grpc") or (SERVER / "rpc") in path.parents}
    assert "_asyncio_future_blocking" not in path.read_text()
