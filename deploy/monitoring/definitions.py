"""Metrics, labels and label values that an expression may use, from the definitions of the server."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import get_args

import grpc

from embedwire_server.config.settings import RateLimitSettings
from embedwire_server.core.errors import Reason
from embedwire_server.core.failure_causes import Cause
from embedwire_server.core.models import Modality
from embedwire_server.core.results import CacheStatus
from embedwire_server.observability.metrics import REPLACEMENT_REASONS, Metrics
from embedwire_server.observability.resource_monitor import CHECKED
from embedwire_server.observability.store_metrics import REDIS_ERRORS, REDIS_USES
from embedwire_server.policies.rate_limit.policy import configured
from embedwire_server.policies.rate_limit.rejection import UPSTREAM_LIMIT
from embedwire_server.policies.retry import Obstacle

# Labels that Prometheus adds to each series of a target; namespace and pod in Kubernetes only.
TARGET_LABELS = frozenset({"job", "namespace", "instance", "pod"})

_WORDS = frozenset(
    {"and", "or", "unless", "offset", "bool", "sum", "min", "max", "avg", "count", "group", "topk", "bottomk"}
)
_CLAUSE = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)|\bgroup_(?:left|right)\b")
_SELECTOR = re.compile(r"(?<![\w:.])(?P<name>[a-zA-Z_:][\w:]*)(?![\w:]|\s*\()(?:\{(?P<matchers>.*?)\})?")
_MATCHER = re.compile(r'(?P<label>\w+)\s*(?P<operator>=~|!~|=|!=)\s*"(?P<value>[^"]*)"')
_RANGE = re.compile(r"\[[\w:]+\]")


def _series() -> Mapping[str, frozenset[str]]:
    """Return the labels of each series of a server, and of `up`."""
    metrics = Metrics("sandbox")
    metrics.quota_shared()
    registry = metrics.registry
    # Some collectors of the library do not declare their series, but have them from the start.
    found = {sample.name: frozenset(sample.labels) for family in registry.collect() for sample in family.samples}
    found["up"] = frozenset()
    # prometheus_client has no public access to the names of labels, nor to the collectors of a registry.
    for collector, names in registry._collector_to_names.items():  # noqa: SLF001
        labels = frozenset(getattr(collector, "_labelnames", ()))
        for name in names:
            found[name] = found.get(name, frozenset()) | labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def _limits() -> Iterator[str]:
    """Yield the names of all rate limits."""
    yield UPSTREAM_LIMIT
    for modality in Modality:
        everything = dict.fromkeys(type(getattr(RateLimitSettings(), modality)).model_fields, 1)
        limits = configured(RateLimitSettings.model_validate({modality: everything}))
        yield from (limit.name for limit in limits[modality])


SERIES = _series()
# By label, or by metric and label where the metric has values of its own. Other labels have an open set of values.
VALUES: Mapping[str | tuple[str, str], Collection[str]] = {
    "modality": tuple(Modality),
    "reason": ("OK", *Reason),
    "limit": tuple(_limits()),
    "resource": (*Modality, "content_bytes", "caller"),
    "grpc_code": tuple(code.name for code in grpc.StatusCode),
    ("embedwire_worker_replacements_total", "reason"): REPLACEMENT_REASONS,
    ("embedwire_upstream_connection_failures_total", "cause"): tuple(Cause),
    ("embedwire_not_ready", "cause"): CHECKED,
    ("embedwire_redis_errors_total", "reason"): REDIS_ERRORS,
    ("embedwire_cache_inputs_total", "status"): tuple(CacheStatus),
    "use": REDIS_USES,
    ("embedwire_retries_suppressed_total", "cause"): get_args(Obstacle),
}


def faults(expression: str, records: Mapping[str, frozenset[str]] | None = None) -> list[str]:
    """Return the names in a PromQL expression that do not exist, each as text for a developer.

    Syntax and functions are not checked; `promtool` does that.

    Args:
        expression: the expression.
        records: labels of each recording rule that it may use, by its name.
    """
    known = {**SERIES, **(records or {})}
    text = _CLAUSE.sub(" ", _RANGE.sub("", expression))
    used = [match for match in _SELECTOR.finditer(text) if match["name"] not in _WORDS]
    names = {match["name"] for match in used}
    found = [f"{name} is no metric" for name in sorted(names - known.keys())]
    labels = TARGET_LABELS.union(*(known.get(name, ()) for name in names))
    grouped = {label for match in _CLAUSE.finditer(expression) for label in re.findall(r"\w+", match[1] or "")}
    found += [f"{label} is no label of {', '.join(sorted(names))}" for label in sorted(grouped - labels)]
    for match in used:
        if match["matchers"] is not None and match["name"] in known:
            found += _faults_of_matchers(match["name"], match["matchers"], known[match["name"]])
    return found if names else [*found, "the expression uses no metric"]


def _faults_of_matchers(name: str, matchers: str, labels: frozenset[str]) -> Iterator[str]:
    for match in _MATCHER.finditer(matchers):
        label, is_pattern = match["label"], "~" in match["operator"]
        if label not in labels | TARGET_LABELS:
            yield f"{name} has no label {label}"
            continue
        values = VALUES.get((name, label), VALUES.get(label))
        for value in match["value"].split("|") if is_pattern else [match["value"]]:
            if values is not None and not any(re.fullmatch(value, known) for known in values):
                yield f"{name}: {label} is never {value}"
