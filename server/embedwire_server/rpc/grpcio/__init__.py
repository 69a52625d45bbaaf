"""Code that relies on undocumented grpcio behaviour. Without it, the server uses the public API only.

accept_loops
    Private: `Server._server`, `AioServer._request_registered_call`; `_handle_stream_unary_rpc`, `_schedule_rpc_coro`,
        `_ServicerContext` and `_RequestCallError` of cygrpc.
    For: several accept operations are pending for each method, where gRPC's own loop has one.
    Gain: 3 % fewer instructions for a call, as measured before the connection pool. All three together now: 794 us of
        CPU for a call instead of 860 (384 callers, an upstream of 200 ms); calls/s do not differ.
batch_leak
    Private: operations of a servicer context are driven step by step; the event loop that gRPC is given is replaced.
    For: an operation whose await is cancelled, or whose call has ended, is completed, which frees its memory. Otherwise
        it is never freed (grpc/grpc issue 43360; `tests/e2e/test_grpcio_leak.py` fails as soon as that is fixed).
    Gain: 12,800 cancelled calls leak nothing instead of 1.4 MiB. It costs 1 % of the instructions.
last_message
    Private: `context.write` in a handler that gRPC treats as one with a single response.
    For: the last message of a stream is sent together with the status.
    Gain: 2 % fewer instructions for a call.
status_alone
    Private: `_finish_handler_with_stream_responses` and `RPCState` of cygrpc; a servicer context refers to the latter.
    For: a unary reply is sent before its status, so that the status can wait until the client's host has the reply;
        see `rpc.delivery`. Only in a drain, and for large replies on old connections.
    Gain: gRPC does not close the connection before the reply has been delivered.

`guard` decides whether these modules are used. They are not if

- the setting `server.grpc_public_api_only` is true,
- another minor version than `guard.TESTED` is installed,
- `self_check` finds, before the first call is accepted, that they do not work as tested.

If an accept loop raises later, all are closed, and `rpc.server` replaces gRPC's server by one that uses the public API
only.

Without them the server accepts calls one by one, sends the last message of a stream before its status, may lose a large
unary reply to a slow client in a drain, and its memory grows with cancelled calls: `workers.max_memory` bounds it.

Everything else in `rpc` uses documented names of grpcio only.
"""
