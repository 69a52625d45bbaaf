"""Runs of `map`: any number of inputs, in calls of several inputs each.

`run` has the state of a run and schedules its calls, without I/O; `threads` and `tasks` drive it for the two clients.
`batches` forms the groups of inputs that share a call. `call` ends the inputs of a call or marks them to be sent again.
`pacing` limits the concurrency and pauses the run. `failures` builds the failures of single inputs. `sending` encodes
the request of a call.
"""
