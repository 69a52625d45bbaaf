"""The policies: each a coroutine around the next `Upstream`, outermost first.

admission   so many inputs of each modality at a time, others wait or are refused; one whose time is up is not sent
retry       what may be sent again is, within a budget
pacing      no more than the upstream's rate limits allow, fair by caller

What they are made of: `fair_queue` (whose turn it is), `places` (handed on in turns), `budget` (how many
retries), `pace` and `windows` (rate limits).
"""
