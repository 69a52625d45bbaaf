"""The HTTP port for operators: metrics, probes and the status page, served from a thread of its own."""
