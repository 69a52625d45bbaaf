"""What the server promises, each promise with the experiment that keeps or breaks it.

upstream   the hostile upstream, and `journal`, what it received; `answers`, what it says
proxy      the network between any two, as bad as wanted
server     the server as a process, watched from outside (`watched`: and a little from inside)
callers    callers, each call of which has exactly one outcome; `outside`: callers in a process of their own
stage      what a promise is given to play on
verdict    figures and bounds

The other modules are families of promises (and `mutations`, what the worst callers send);
`python -m tests.system --list` names them all.
"""
