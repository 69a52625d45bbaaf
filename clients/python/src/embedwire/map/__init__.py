"""Runs of `map`: any number of inputs, in calls of several inputs each.

`run` has the state of a run and decides what is sent when, without I/O; `threads` and `tasks` drive it for the two
clients. `batches` forms the groups of inputs that share a call, `call` decides what becomes of the inputs of a call,
`pacing` how many calls run at a time and when the run pauses, and `failures` makes the failures of single inputs.
`sending` encodes the request of a call.
"""
