"""The cases, and the jobs of the runners for them."""

import base64
import dataclasses
import functools
import json
import random
from pathlib import Path
from typing import Any

from tests.conformance.replies import Reply, reply

HERE = Path(__file__).parent

JOB: dict[str, Any] = {
    "name": "",
    "target": "",
    "tls": None,
    "token": None,
    "upstream_api_key": None,
    "timeout": None,
    "wait_for_ready": False,
    "call": "stream",
    "model": "marengo3.0",
    "max_retries": None,
    "request_id": None,
    "encoding": None,
    "dimensions": None,
    "include_uncertainty": False,
    "on_progress": False,
    "inputs": [],
    "cancel_after": None,
    "channels": None,
    "map": None,
}
MAP = {"inputs_per_call": None, "concurrent_calls": None, "run_timeout": None, "count_waits": None}
TEXT: dict[str, Any] = {"kind": "text", "value": "", "key": "", "truncate": None}
MEDIA: dict[str, Any] = {"kind": "", "key": "", "file_name": "", "media_type": ""}
AUDIO: dict[str, Any] = MEDIA | {
    "start_offset_sec": None,
    "end_offset_sec": None,
    "segmentation": None,
    "embedding_options": [],
    "embedding_scopes": [],
    "embedding_types": [],
    "processing_mode": None,
}
SOURCES = ("url", "path", "data", "stream", "asset_id", "task_id")


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One case as in the files; see README.md for each member."""

    name: str
    what: str
    job: dict[str, Any]
    expect: dict[str, Any]
    server: str = "plain"
    replies: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    upstream: list[dict[str, Any]] | None = None
    fake: list[dict[str, Any]] | None = None
    holds: bool = False
    then: tuple["Case", ...] = ()

    @classmethod
    def of(cls, spec: dict[str, Any]) -> "Case":
        later = tuple(cls.of({"name": spec["name"], "what": "", **one}) for one in spec.get("then", ()))
        return cls(**(spec | {"then": later}))

    def built_replies(self) -> dict[str, Reply]:
        """Return the upstream's replies; by default a plain one for each modality of the job."""
        kinds = {each["kind"] for each in self.job.get("inputs", ())}
        specs = self.replies or {kind: {"modality": kind} for kind in sorted(kinds)}
        return {name: reply(name, spec) for name, spec in specs.items()}


def cases() -> list[Case]:
    """Return all cases, in the order of the files and within them."""
    found = [Case.of(spec) for path in sorted((HERE / "cases").glob("*.json")) for spec in _read(path)]
    names = [case.name for case in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two cases are called {', '.join(sorted(twice))}")
    return found


def servers() -> dict[str, dict[str, Any]]:
    """Return the servers that cases name."""
    found: dict[str, dict[str, Any]] = _read(HERE / "servers.json")
    return found


def job(case: Case, target: str, folder: Path) -> dict[str, Any]:
    """Return the job of a case for a runner: with every member, and with its files in a folder."""
    made = JOB | case.job | {"name": case.name, "target": target}
    if made["tls"] is not None:
        tls = {"root_certificates": None, "certificate_chain": None, "private_key": None, "server_name": None}
        files = {name: str(folder / value) for name, value in made["tls"].items() if name != "server_name"}
        made["tls"] = tls | made["tls"] | files
    if made["map"] is not None:
        made["map"] = MAP | made["map"]
    made["inputs"] = [_input(each, folder) for each in made["inputs"]]
    return made


def _input(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    if spec["kind"] == "text":
        return TEXT | spec
    made = (AUDIO if spec["kind"] == "audio" else MEDIA) | spec
    source = next(name for name in SOURCES if name in spec)
    if source == "data":
        made["data"] = base64.b64encode(content(**_content_of(spec["data"]))).decode()
    elif source in ("path", "stream"):
        made[source] = str(_file(spec[source], folder))
    return made


def _file(spec: dict[str, Any], folder: Path) -> Path:
    """Write a file of a case; one without a size is not created."""
    path: Path = folder / spec.get("folder", "files") / spec["name"]
    path.parent.mkdir(exist_ok=True)
    if "bytes" in spec and not path.exists():
        path.write_bytes(content(**_content_of(spec)))
    return path


def _content_of(spec: dict[str, Any]) -> dict[str, int]:
    return {"size": spec["bytes"], "seed": spec.get("seed", 1)}


@functools.cache
def content(size: int, seed: int) -> bytes:
    """Return the bytes of a generated file."""
    return random.Random(seed).randbytes(size)


def _read(path: Path) -> Any:
    return _expanded(json.loads(path.read_text()))


def _expanded(value: Any) -> Any:
    """Return the value with every {"$repeat": [item, times]} expanded to a text or a list."""
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "$repeat" in value:
        what, times = value["$repeat"]
        return what * times if isinstance(what, str) else [_expanded(what) for _ in range(times)]
    return {name: _expanded(each) for name, each in value.items()}
