"""Traces of OpenTelemetry, exported to a real receiver."""
