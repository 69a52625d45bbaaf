"""HTTP API to script faults, for a sandbox that runs as a server of its own.

`/sandbox/faults`, outside the API's base path and without a key:

- `GET`: the pending faults: `{"faults": [{"kind": "status", "times": 2, ...}], "requests": 17, "operations": {...}}`.
  `times` is the number that is left; `requests` counts the embedding calls since the start, `operations` the calls of
  each operation.
- `PUT`: replaces the list by `{"faults": [...]}` and responds like `GET`. Names and meanings are those of `Fault`, only
  `kind` is required; an invalid one is a 400 with `parameter_invalid`, and the list is unchanged.
- `DELETE`: clears the list and responds like `GET`.

For example, two rate limits on audio, with a hint::

    curl -X PUT http://127.0.0.1:PORT/sandbox/faults -d '{"faults": [{"kind": "status", "status": 429,
      "headers": {"Retry-After": "2"}, "modality": "audio", "times": 2}]}'

`/sandbox/state`: `GET` returns `{"assets": [...], "tasks": [...], "uploads": [...], "operations": {...}}`: the assets
that exist, the tasks that are not forgotten, and the uploads in chunks that are not complete, of all keys.
"""

from collections.abc import Callable
from json import JSONDecodeError
from typing import Any, Final

from aiohttp import web

from embedwire_sandbox.calls import EMBEDDING_OPERATIONS, Journal
from embedwire_sandbox.errors import invalid
from embedwire_sandbox.faults.script import FaultScript, fault_from_json, fault_to_json

PATH: Final = "/sandbox/faults"
STATE_PATH: Final = "/sandbox/state"


class FaultControl:
    """Handlers of the HTTP API of a fault script.

    Args:
        script: The script.
        journal: Counts the calls.
        resources: Returns the assets, tasks and uploads.
    """

    def __init__(
        self, script: FaultScript, journal: Journal, resources: Callable[[], dict[str, list[dict[str, Any]]]]
    ) -> None:
        self._script = script
        self._journal = journal
        self._resources = resources

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to the application."""
        return [
            web.get(PATH, self._get),
            web.put(PATH, self._put),
            web.delete(PATH, self._delete),
            web.get(STATE_PATH, self._state),
        ]

    async def _get(self, _: web.Request) -> web.Response:
        faults = [{**fault_to_json(fault), "times": left} for fault, left in self._script.pending]
        counts = self._journal.counts
        requests = sum(counts[operation] for operation in EMBEDDING_OPERATIONS)
        return web.json_response({"faults": faults, "requests": requests, "operations": dict(counts)})

    async def _state(self, _: web.Request) -> web.Response:
        return web.json_response({**self._resources(), "operations": dict(self._journal.counts)})

    async def _put(self, request: web.Request) -> web.Response:
        try:
            document = await request.json()
            faults = [fault_from_json(item) for item in document["faults"]]
        except (JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            raise invalid("faults", 'Send {"faults": [...]}.') from None
        except ValueError as error:
            raise invalid("faults", f"{error}.") from None
        self._script.clear()
        self._script.add(*faults)
        return await self._get(request)

    async def _delete(self, request: web.Request) -> web.Response:
        self._script.clear()
        return await self._get(request)
