"""The guarantees of the server, each with an experiment that checks it.

upstream   a hostile upstream; `journal`: the requests it received; `answers`: its responses; `counting_upstream`: one
           that only counts, as a process
proxy      a TCP proxy that delays, divides and drops bytes
replicas   servers with fixed ports that are replaced; `replicas_with_quota`: those that share a quota
server     the server as a process; `watched`: with a count of its tasks
callers    clients that record one outcome per call; `outside`: clients in a separate process
experiment what an experiment uses: upstreams, servers, callers, an audit of the metrics
verdict    figures and their bounds

The other modules are families of guarantees (and `mutations`, the broken requests of hostile clients);
`python -m tests.system --list` names them all.
"""
