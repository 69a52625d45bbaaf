"""The response of `/metrics`: the registry in the format that the scraper asks for."""

import gzip
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

# Of the formats, by media type. The library fails for a version that is no number, and claims to write any other one.
_VERSIONS = {"application/openmetrics-text": {"", "0.0.1", "1.0.0"}, "text/plain": {"", "0.0.4", "1.0.0"}}


def metrics_page(registry: CollectorRegistry, request: Request) -> Response:
    """Return the metrics, or those of the query parameters `name[]`; compressed if the client accepts gzip."""
    encode, content_type = choose_encoder(", ".join(_known_formats(request)))
    names = request.query_params.getlist("name[]")
    body = encode(registry.restricted_registry(names) if names else registry)
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if any(coding.lower() == "gzip" for coding, _ in _accepted(request, "accept-encoding")):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body)
    return Response(body, headers=headers)


def _known_formats(request: Request) -> Iterator[str]:
    """Yield the formats that the client accepts and the library can write, in the order of the client."""
    for media_type, parameters in _accepted(request, "accept"):
        if parameters.get("version", "") in _VERSIONS.get(media_type, ()):
            yield ";".join([media_type, *(f"{name}={value}" for name, value in parameters.items())])


def _accepted(request: Request, header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the values of an Accept header with their parameters, without those that the client excludes by `q=0`."""
    for element in ",".join(request.headers.getlist(header)).split(","):
        value, *rest = (part.strip() for part in element.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {name.strip(): text.strip(' "') for name, _, text in pairs}
        if parameters.get("q", "1").rstrip("0") not in {"", "0."}:
            yield value, parameters
