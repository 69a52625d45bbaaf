"""The gRPC server: the only package that uses the generated messages.

service        the four RPCs: decode, call, encode
decode         messages to values, with every rule of the contract
encode         values to messages
unary_reply    all results of a call in one message
upload_stream  the framing of CreateEmbeddingFromUpload
list_models    ListModels
status         the table from reasons to gRPC codes, and the details of a failed call
call_context   the running call: request id, caller, outcome
deadline       the deadline of a call, and the limit on one of its writes
flow_control   writes to callers that read slowly
pending_calls  calls whose first message has not arrived
drain          the gate for new calls, and the active calls
interceptors   around every call: observe (outermost), errors (innermost)
handlers       method handlers of any shape
services       the services with what surrounds them
server         all of it in one grpc.aio server, and how it is stopped
options        the options of a server, and what they promise
health         grpc.health.v1
reflection     gRPC server reflection
stream_limit   how many of its streams are open
tls            certificates that are replaced while the server runs
scheduling     the scheduling policy of gRPC's threads
grpcio         what grpcio does not document: accept loops, a leak, the last message; and the check that it works
"""
