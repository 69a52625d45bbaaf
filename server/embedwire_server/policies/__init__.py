"""The policies: each is a coroutine around that of the next `Upstream`. `assembly` has their order.

concurrency_limit  so many inputs of each credential and modality at a time; the others wait in a fair queue
retry              repeats what may be sent again, within `retry_budget`
rate_limit         keeps the upstream's rate limits, fair by caller
attempts           counts and times every attempt

`fair_queue` decides which input is next.
"""
