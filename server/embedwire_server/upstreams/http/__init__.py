"""One HTTP request for an input, for every dialect.

upstream            one attempt: request, response, failure
transport           sends requests; also httpx's interface
pool                the connections to one origin
connection          carries one exchange at a time
exchange            request, response, and the facts that decide whether a request may be repeated
response_stream     the response of an exchange as it arrives
response_parser     HTTP/1.1, without I/O
dialer              opens connections: addresses, TLS, proxies
resolver            name lookups, shared and cached
proxies             which proxy, if any
tunnel              CONNECT, and TLS inside
diagnosis           exceptions of the network to causes
multipart           the body of a request, in parts of known length
decompression       responses with a content coding, in bounded steps
json_scanner        a response, cut into segments as its bytes arrive
json_reader         Python's json for what simdjson refuses
rate_limit_headers  Retry-After, and what a response says of the upstream's rate limits
sanitize            an upstream's text as callers may see it
"""
