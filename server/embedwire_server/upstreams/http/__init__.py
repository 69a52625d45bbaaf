"""HTTP client of the upstreams: one request per attempt, for every dialect.

upstream            one attempt: request, response, failure
client              sends one request, and maps failures
traced_client       does the same in a span, if tracing is on
response_body       body of a response: decompressed, bounded, timed
transport           sends requests; also an httpx transport
pool                connection pool of one origin
connection          HTTP/1.1 connection, one exchange at a time
exchange            request, response, and the facts that decide whether a request may be repeated
response_stream     streamed response
response_parser     HTTP/1.1 response parser, without I/O
dialer              opens connections: addresses, TLS, proxies
resolver            name lookups, shared and cached
tunnel              CONNECT through a proxy, and TLS inside
connection_errors   maps network exceptions to causes
multipart           streamed multipart/form-data bodies
json_body           streamed JSON bodies with a file as base64
decompression       responses with a content coding, in bounded steps
json_scanner        cuts segments out of a response as its bytes arrive
json_fallback       Python's json, for what simdjson rejects
retry_after         parses Retry-After, as seconds, duration or time
rate_limit_headers  parses rate-limit headers
sanitize            removes credentials and control characters from upstream text
"""
