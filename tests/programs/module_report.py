"""The server, which reports at its end the modules of OpenTelemetry that it has loaded."""

import sys

from embedwire_server.cli import main

code = main()
names = sorted(name for name in sys.modules if name.startswith("opentelemetry"))
sys.stderr.write(f"modules: {names[:3]}\n")
sys.exit(code)
