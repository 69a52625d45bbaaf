"""The number of metric series."""

import itertools
from collections.abc import Mapping, Sequence

import grpc
import prometheus_client

from embedwire_server.config.setting_table import ALL
from embedwire_server.core.errors import Reason
from embedwire_server.core.failure_causes import Cause
from embedwire_server.core.models import BUILT_IN, Modality
from embedwire_server.core.results import CacheStatus
from embedwire_server.observability.metrics import MAX_SERIES, OTHER_MODEL, REPLACEMENT_REASONS, Metrics
from embedwire_server.observability.resource_monitor import CHECKED
from embedwire_server.observability.store_metrics import REDIS_ERRORS, REDIS_USES
from embedwire_server.policies.rate_limit.policy import configured
from tests.support.serving import settings_of

SERVICES = {
    "embedwire.v1.EmbeddingService": [
        ("server_stream", "CreateEmbedding"),
        ("unary", "CreateEmbeddingUnary"),
        ("bidi_stream", "CreateEmbeddingFromUpload"),
        ("unary", "ListModels"),
    ],
    "grpc.health.v1.Health": [("unary", "Check"), ("unary", "List"), ("server_stream", "Watch")],
    "grpc.reflection.v1.ServerReflection": [("bidi_stream", "ServerReflectionInfo")],
    "grpc.reflection.v1alpha.ServerReflection": [("bidi_stream", "ServerReflectionInfo")],
}
METHODS = [(kind, service, method) for service, methods in SERVICES.items() for kind, method in methods]
OUTCOMES = ["OK", *Reason]
MODELS = [model.name for model in BUILT_IN]


def all_values() -> Mapping[str, Sequence[tuple[str, ...]]]:
    """Return every combination of labels that the code can write, by the name of the metric object."""
    limits = configured(
        settings_of(**{name: 1 for name in ALL if "_per_" in name and name.startswith("rate_limits")}).rate_limits
    )
    of_limits = [(kind, "upstream") for kind in Modality]
    of_limits += [(kind, limit.name) for kind, of_kind in limits.items() for limit in of_kind]
    modalities = [(modality,) for modality in Modality]
    upstreams = itertools.product(["custom", "sandbox"], {model.endpoint for model in BUILT_IN}, Modality)
    asked = list(upstreams)
    return {
        "calls_started": METHODS,
        "calls_handled": [(*method, code.name) for method in METHODS for code in grpc.StatusCode],
        "call_seconds": METHODS,
        "messages_received": METHODS,
        "messages_sent": METHODS,
        "calls": list(itertools.product([m[2] for m in METHODS[:4]], [*MODELS, OTHER_MODEL], OUTCOMES)),
        "inputs": list(itertools.product(Modality, MODELS, OUTCOMES)),
        "segments": list(itertools.product(Modality, MODELS)),
        "inputs_in_flight": modalities,
        "overhead_seconds": modalities,
        "upstream_requests": [(*labels, outcome) for labels in asked for outcome in OUTCOMES],
        "upstream_seconds": asked,
        "expired_inputs": modalities,
        "inputs_queued": modalities,
        "refusals": [*modalities, ("content_bytes",), ("caller",)],
        "caller_calls": [("search", reason) for reason in OUTCOMES],
        "caller_inputs": [("search", modality) for modality in Modality],
        "connection_failures": [(cause,) for cause in Cause],
        "worker_replacements": [(reason,) for reason in REPLACEMENT_REASONS],
        "not_ready": [(cause,) for cause in CHECKED],
        "retries": list(itertools.product(Modality, Reason)),
        "retries_withheld": list(itertools.product(Modality, ["attempts", "deadline", "budget"])),
        "rate_limit_queue_length": modalities,
        "rate_limit_wait_seconds": modalities,
        "rate_limit_backoffs": modalities,
        "rate_limit_rejections": of_limits,
        "rate_limit_amount": of_limits,
        "rate_limit_remaining": of_limits,
        "cache_inputs": list(itertools.product(Modality, CacheStatus)),
        "redis_up": [(use,) for use in REDIS_USES],
        "redis_seconds": [(use,) for use in REDIS_USES],
        "redis_errors": list(itertools.product(REDIS_USES, REDIS_ERRORS)),
    }


def test_number_of_series_is_bounded() -> None:
    """The number of all possible series is within the constant that the code declares."""
    metrics, values = Metrics("custom"), all_values()
    labelled = {name for name, metric in vars(metrics).items() if getattr(metric, "_labelnames", ())}
    assert set(values) == labelled
    for name, combinations in values.items():
        for labels in combinations:
            getattr(metrics, name).labels(*labels)
    page = prometheus_client.generate_latest(metrics.registry).decode()
    series = [line for line in page.splitlines() if not line.startswith("#")]
    of_a_caller = [line for line in series if 'client="search"' in line]
    assert len(series) - len(of_a_caller) <= MAX_SERIES
    assert len(of_a_caller) <= 40
