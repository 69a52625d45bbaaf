"""HTTP API to script faults, for a sandbox that runs as a server of its own.

`/sandbox/faults`, outside the API's base path and without a key:

- `GET`: the pending faults: `{"faults": [{"kind": "status", "times": 2, ...}], "requests": 17}`. `times` is the number
  that is left; `requests` counts the embedding calls since the start.
- `PUT`: replaces the list by `{"faults": [...]}` and responds like `GET`. Names and meanings are those of `Fault`, only
  `kind` is required; an invalid one is a 400 with `parameter_invalid`, and the list is unchanged.
- `DELETE`: clears the list and responds like `GET`.

For example, two rate limits on audio, with a hint::

    curl -X PUT http://127.0.0.1:PORT/sandbox/faults -d '{"faults": [{"kind": "status", "status": 429,
      "headers": {"Retry-After": "2"}, "modality": "audio", "times": 2}]}'
"""

from collections.abc import Callable
from json import JSONDecodeError
from typing import Final

from aiohttp import web

from embedwire_sandbox.errors import invalid
from embedwire_sandbox.fault_script import FaultScript, fault_from_json, fault_to_json

PATH: Final = "/sandbox/faults"


class FaultControl:
    """Handlers of the HTTP API of a fault script.

    Args:
        script: The script.
        requests: Returns the number of embedding calls.
    """

    def __init__(self, script: FaultScript, requests: Callable[[], int]) -> None:
        self._script = script
        self._requests = requests

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to the application."""
        return [web.get(PATH, self._get), web.put(PATH, self._put), web.delete(PATH, self._delete)]

    async def _get(self, _: web.Request) -> web.Response:
        faults = [{**fault_to_json(fault), "times": left} for fault, left in self._script.pending]
        return web.json_response({"faults": faults, "requests": self._requests()})

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
