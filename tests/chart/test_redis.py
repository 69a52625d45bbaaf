"""Redis in the chart: URLs from Secrets, the number of pods that share the quota, and the network policy."""

from pathlib import Path
from typing import Any

import pytest

from embedwire_server.config.setting_table import ALL
from tests.chart.rendering import CASES, SECRET, Object, case, container, objects, one, template
from tests.chart.test_pod import environment
from tests.chart.test_values import notes

OPEN: Object = SECRET | {"allowInsecure": True}
SHARED: Object = OPEN | {"quotaStore": {"existingSecret": "redis"}}
RATE_LIMITS: Object = {"rate_limits": {"text": {"requests_per_minute": 600}}}
REPLICAS = ALL["quota_replicas"].variable


def scaled(maximum: int) -> Object:
    return {"autoscaling": {"enabled": True, "maxReplicas": maximum}}


def rolling(**update: Any) -> Object:
    return {"strategy": {"rollingUpdate": update}}


def redis_rules(values: Object) -> list[Any]:
    """Return the rules of the network policy for Redis: the ports of each, and its peers."""
    rules = one(objects(values), "NetworkPolicy")["spec"]["egress"]
    found = [([port["port"] for port in rule["ports"]], rule.get("to")) for rule in rules]
    return [rule for rule in found if rule[0] not in ([53, 53], [443])]


def test_urls_are_from_secrets() -> None:
    """Each store is a variable from its Secret and key."""
    variables = {each["name"]: each.get("valueFrom") for each in container(case("redis"))["env"]}
    assert variables["EMBEDWIRE_QUOTA_STORE"] == {"secretKeyRef": {"name": "redis", "key": "quota-store"}}
    assert variables["EMBEDWIRE_CACHE_STORE"] == {"secretKeyRef": {"name": "redis-cache", "key": "url"}}


@pytest.mark.parametrize(
    ("values", "replicas"),
    [
        ({}, 3),
        ({"replicaCount": 6}, 7),
        ({"replicaCount": 0, "strategy": {"type": "Recreate", "rollingUpdate": None}}, 1),
        ({"replicaCount": 6, "strategy": {"type": "Recreate", "rollingUpdate": None}}, 6),
        ({"replicaCount": 6, "strategy": None}, 8),
        ({"replicaCount": 6} | rolling(maxSurge="50%"), 9),
        ({"replicaCount": 6} | rolling(maxSurge=2), 8),
        ({"replicaCount": 6} | rolling(maxSurge=0, maxUnavailable=1), 6),
        ({"replicaCount": 6} | rolling(maxSurge=None), 8),
        (scaled(10), 11),
        (scaled(10) | rolling(maxSurge="25%"), 13),
        ({"quotaStore": {"existingSecret": "redis", "replicas": 20}}, 20),
    ],
    ids=str,
)
def test_replicas_include_those_of_a_rolling_update(values: Object, replicas: int) -> None:
    """The quota is divided among all pods that may run: the most, and those that a rolling update adds."""
    assert environment(objects(SHARED | values))[REPLICAS] == str(replicas)


@pytest.mark.parametrize(
    ("values", "is_set"),
    [
        (OPEN, False),
        (SHARED, True),
        (CASES["redis without passwords"], True),
        (CASES["existing"], False),
        (CASES["existing"] | {"quotaStore": {"existingSecret": "redis"}}, True),
        (CASES["existing"] | {"quotaStore": {"replicas": 4}}, True),
        (OPEN | {"cacheStore": {"existingSecret": "redis"}}, False),
    ],
    ids=["none", "Secret", "URL", "file", "Secret and file", "number and file", "cache"],
)
def test_replicas_are_set_with_a_quota_store(values: Object, is_set: bool) -> None:  # noqa: FBT001 - a parameter
    """Without a store, the number is not set, since the server would reject it; a file may have a store."""
    assert (REPLICAS in environment(objects(values))) is is_set


def test_replicas_start_new_pods() -> None:
    """Another number of pods changes the pods: the setting is not reloaded."""
    two, three = (one(objects(SHARED | {"replicaCount": count}), "Deployment")["spec"]["template"] for count in (2, 3))
    assert two != three


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        (OPEN, []),
        (SHARED, [([6379], None)]),
        (CASES["redis"], [([6380, 6379], None)]),
        (CASES["redis without passwords"], [([6380, 6379], [{"podSelector": {"matchLabels": {"app": "redis"}}}])]),
        (SHARED | {"cacheStore": {"existingSecret": "redis"}}, [([6379], None)]),
        (OPEN | {"config": {"cache": {"store": "memory"}}}, []),
        (OPEN | {"config": {"cache": {"store": "unix:///run/redis.sock"}}}, []),
        (OPEN | {"config": {"cache": {"store": "redis://redis:7000"}}}, [([7000], None)]),
        (OPEN | {"config": None}, []),
        (SHARED | {"config": {"rate_limits": None}}, [([6379], None)]),
        (SHARED | {"config": {"rate_limits": {"text": None, "image": {"requests_per_day": None}}}}, [([6379], None)]),
    ],
    ids=str,
)
def test_the_network_policy_allows_redis(values: Object, rules: list[Any]) -> None:
    """Connections to the ports of the stores are allowed, to the peers of `redisTo` or to any address."""
    assert redis_rules(values) == rules


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"config": {"quota": {"store": "redis://:a@b/0"}}}, "config.quota.store: has credentials"),
        ({"config": {"quota": {"store": "redis://b/0?password=a"}}}, "set quotaStore.existingSecret"),
        ({"config": {"cache": {"store": "rediss://u:a@b/0"}}}, "set cacheStore.existingSecret"),
        (
            {"config": {"quota": {"store": "redis://b/0"}}, "quotaStore": {"existingSecret": "a"}},
            "quotaStore.existingSecret and config.quota.store: set one of them",
        ),
        (
            {"config": {"cache": {"store": "memory"}}, "cacheStore": {"existingSecret": "a"}},
            "cacheStore.existingSecret and config.cache.store: set one of them",
        ),
        ({"quotaStore": {"replicas": 4}}, "quotaStore.replicas: needs quotaStore.existingSecret or config.quota.store"),
        (
            {"quotaStore": {"existingSecret": "a", "replicas": 3}, "replicaCount": 4},
            "quotaStore.replicas: must be at least 4, the number of pods",
        ),
        ({"quotaStore": {"existingSecret": "a", "replicas": 3}} | scaled(5), "must be at least 5, the number of pods"),
        (
            {"config": {"rate_limits": {"image": {"requests_per_day": 2}}}, "quotaStore": {"existingSecret": "a"}},
            "config.rate_limits.image.requests_per_day: must be at least 3, the number of pods that share it",
        ),
        ({"config": {"quota": {"replicas": 2}}}, "at '/config/quota': additional properties 'replicas' not allowed"),
        ({"extraEnv": [{"name": "EMBEDWIRE_QUOTA_STORE", "value": "redis://b/0"}]}, "is set by the chart"),
        ({"extraEnv": [{"name": "EMBEDWIRE_CACHE_STORE", "value": "memory"}]}, "is set by the chart"),
        ({"extraEnv": [{"name": "EMBEDWIRE_QUOTA_REPLICAS", "value": "2"}]}, "is set by the chart"),
        ({"quotaStore": {"port": 0}}, "at '/quotaStore/port': minimum: got 0, want 1"),
        ({"cacheStore": None}, "missing property 'cacheStore'"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_conflicts(values: Object, message: str) -> None:
    """A URL with credentials in `config`, two stores for one purpose, and a number of pods that is wrong are errors."""
    done = template(OPEN | values)

    assert done.returncode != 0
    assert message in done.stderr
    assert ":a@" not in done.stderr


@pytest.mark.parametrize(
    ("values", "expected", "absent"),
    [
        (OPEN | {"config": RATE_LIMITS}, "WARNING: each pod uses all of config.rate_limits", "through Redis"),
        (
            SHARED | {"config": RATE_LIMITS},
            "While Redis is unavailable, each pod uses 1/3 of them",
            "each pod uses all",
        ),
        (OPEN | {"config": RATE_LIMITS, "replicaCount": 1}, "Readiness: helm test", "rate_limits"),
        (SHARED | {"config": RATE_LIMITS, "replicaCount": 1}, "each pod uses 1/2 of them", "each pod uses all"),
        (OPEN, "Readiness: helm test", "rate_limits"),
    ],
    ids=["no store", "store", "one pod", "one pod and a store", "no limits"],
)
def test_notes_about_the_quota(values: Object, expected: str, absent: str, tmp_path: Path) -> None:
    """The notes warn if several pods use all of the limits each, and state what each uses without Redis."""
    found = notes(values, tmp_path)

    assert expected in found
    assert absent not in found
