"""The server, in a process that cannot import OpenTelemetry's SDK, as without the extra."""

import sys
from importlib.machinery import ModuleSpec

from embedwire_server.cli import main


class Missing:
    """Finder that hides the packages of the extra."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name)
        return None


sys.meta_path.insert(0, Missing())
sys.exit(main())
