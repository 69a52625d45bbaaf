"""The response of `/metrics`: the registry in the format that the scraper asks for."""

import gzip

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response


def metrics_page(registry: CollectorRegistry, request: Request) -> Response:
    """Return the metrics, or those of the query parameters `name[]`; compressed if the client accepts gzip."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    names = request.query_params.getlist("name[]")
    body = encode(registry.restricted_registry(names) if names else registry)
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if _accepts_gzip(request):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body)
    return Response(body, headers=headers)


def _accepts_gzip(request: Request) -> bool:
    accepted = request.headers.get("accept-encoding", "").split(",")
    return any(encoding.partition(";")[0].strip().lower() == "gzip" for encoding in accepted)
