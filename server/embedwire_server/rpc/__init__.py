"""The gRPC face: the only part of the server that knows the generated messages.

servicer      decode, call, encode
requests      messages to domain values, with every rule of the contract
replies       domain values to messages
status        the table from reasons to gRPC codes, and the details of a failed call
upload        the framing of CreateEmbeddingFromUpload
calls         what is known of the running calls: request id, caller, deadline, outcome
outbox        writing to callers who may not take what is written
handlers      method handlers of any shape
grpcio        what grpcio does not document: accept loops, a leak, the last message; and the check that it works
door          where calls come in; a drain holds it
interceptors  around every call: observe (outermost), translate failures (innermost)
health        grpc.health.v1
options       the options of a server, and what they promise
server        all of it in one grpc.aio server, and how it is stopped
"""
