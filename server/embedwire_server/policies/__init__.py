"""Policies: middleware around the next `Upstream`. `assembly` has their order.

cache              returns stored results, and stores new ones
coalescing         lets identical inputs in flight share one call
concurrency_limit  limits the inputs in flight per credential and modality; the others wait in a fair queue
retry              retries failed attempts, within `retry_budget`
rate_limit         delays attempts to stay within the upstream's rate limits, fair by caller
attempts           metrics and logs of every attempt
input_spans        spans of inputs, if tracing is on; the outermost

`fair_queue` is the round-robin queue of both limits.
"""
