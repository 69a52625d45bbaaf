"""The gRPC server: the only package that uses the generated messages.

service        the four RPCs: decode, call, encode
decode         request messages to domain values, validated against the contract
encode         domain values to response messages
unary_reply    the reply of CreateEmbeddingUnary: all results in one message
upload_stream  the framing of CreateEmbeddingFromUpload
list_models    ListModels with pagination
status         the mapping from error reasons to gRPC status codes, error details, retry pushback
call_context   the context of the running call: request id, caller, outcome
deadline       call deadlines and the write stall timeout
flow_control   message writes under flow control, and the budget for unread replies
pending_calls  limits on calls whose first message has not arrived
drain          the drain gate for new calls, and the set of active calls
interceptors   server interceptors: observe (outermost), errors (innermost)
handlers       method handlers of any call type, unary or streaming
services       the registered services with interceptors, drain gate and accept loops
server         the grpc.aio server: listening, graceful stop, replacement
server_options channel arguments of the server, and the limits that they enforce
health         the grpc.health.v1 service
reflection     the gRPC server reflection service
stream_limit   the limit on open streams of services without authentication
tls_reload     server credentials with certificate rotation
thread_scheduling  the scheduling policy of gRPC's threads
grpcio         code that relies on undocumented grpcio behaviour, and the self-check that enables it
"""
