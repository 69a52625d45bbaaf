"""Objects of the chart, as `helm template` renders them for sets of values."""

import functools
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/embedwire"
HELM = ROOT / "build/bin/helm"
RELEASE, NAMESPACE = "search", "vectors"
KUBERNETES = ("1.29", "1.37")  # the oldest of the chart's kubeVersion, and the newest

Object = dict[str, Any]
HASH = "ab" * 32

SECRET: Object = {"apiKey": {"existingSecret": "twelvelabs"}}
CASES: dict[str, Object] = {
    "secret": SECRET | {"allowInsecure": True},
    "sandbox": {"config": {"upstream": {"url": "sandbox"}}, "allowInsecure": True},
    "minimal": SECRET
    | {
        "allowInsecure": True,
        "replicaCount": 1,
        "config": None,
        "serviceAccount": {"create": False},
        "disruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "resources": None,
        "podSecurityContext": None,
        "securityContext": None,
    },
    "tls": SECRET | {"tls": {"existingSecret": "embedwire-tls", "mutual": True}},
    "tokens": {
        "apiKey": {"value": "tlk_test"},
        "tls": {"existingSecret": "embedwire-tls"},
        "config": {
            "tokens": [
                {"name": "search", "sha256": HASH},
                {"name": "indexer", "sha256": [HASH[::-1]], "modalities": ["audio"], "inputs_in_flight": 8},
            ]
        },
    },
    "existing": SECRET | {"existingConfig": {"secret": "embedwire-config", "key": "production.toml"}},
    "existing map": SECRET | {"existingConfig": {"configMap": "embedwire-config"}},
    "redis": SECRET
    | {
        "allowInsecure": True,
        "config": {"rate_limits": {"text": {"requests_per_minute": 600}}, "cache": {"max_age": "1h"}},
        "quotaStore": {"existingSecret": "redis", "port": 6380},
        "cacheStore": {"existingSecret": "redis-cache", "key": "url"},
    },
    "redis without passwords": SECRET
    | {
        "allowInsecure": True,
        "config": {"quota": {"store": "redis://redis.vectors.svc:6380/0"}, "cache": {"store": "redis://[::1]/1"}},
        "networkPolicy": {"redisTo": [{"podSelector": {"matchLabels": {"app": "redis"}}}]},
    },
    "autoscaling": SECRET | {"allowInsecure": True, "autoscaling": {"enabled": True, "cpuPercent": 80}},
}
CASES["everything"] = CASES["tls"] | {
    "commonLabels": {"team": "search", "a": "common", "app.kubernetes.io/part-of": "search"},
    "image": {"repository": "registry.example/embedwire", "digest": f"sha256:{HASH}", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {
        "upstream": {"url": "https://upstream.example:8443/v1.3", "ca": "/etc/company/ca.crt", "proxy": "none"},
        "server": {"write_stall_timeout": "1m30s", "max_connection_age": 600, "reflection": False},
        "retry": {"budget_ratio": 0.25},
        "concurrency": {"max_buffered_bytes": 134217728},
        "rate_limits": {"text": {"requests_per_minute": 600}, "audio": {"media_minutes_per_day": 9000}},
        "models": [
            {
                "name": 'marengo "4.0"',
                "dimensions": 768,
                "text": {"max_tokens": 1000, "truncates": ["end"]},
                "audio": {"fixed_segmentation": [1, 10]},
            }
        ],
        "tokens": CASES["tokens"]["config"]["tokens"],
    },
    "quotaStore": {"existingSecret": "redis", "key": "quota", "port": 6380, "replicas": 12},
    "cacheStore": {"existingSecret": "redis"},
    "shutdown": {"delay": "1m", "gracePeriod": 90.5},
    "listenHost": "[::]",
    "ports": {"grpc": 8080, "health": 8081, "metrics": 8082},
    "spool": {
        "mountPath": "/data",
        "volume": {
            "ephemeral": {
                "volumeClaimTemplate": {
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}}
                }
            }
        },
    },
    "service": {
        "annotations": {"a": "b"},
        "clusterIP": {"enabled": True, "type": "LoadBalancer", "appProtocol": "kubernetes.io/h2c"},
    },
    "serviceAccount": {"name": "vectors", "annotations": {"a": "b"}},
    "autoscaling": {"enabled": True, "cpuPercent": 80, "behavior": None},
    "networkPolicy": {
        "from": [{"podSelector": {"matchLabels": {"embeds": "true"}}}],
        "egressPorts": [8443],
        "extraEgress": [{"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": 4317}]}],
    },
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"configMap": True, "prometheusRule": True, "labels": {"release": "prometheus"}},
        "dashboard": {"configMap": True},
    },
    "extraEnv": [
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.observability:4317"},
        {"name": "EMBEDWIRE_LOG_LEVEL", "value": "debug"},
    ],
    "extraEnvFrom": [{"secretRef": {"name": "proxy"}}],
    "extraVolumes": [{"name": "company", "configMap": {"name": "company-ca"}}],
    "extraVolumeMounts": [{"name": "company", "mountPath": "/etc/company", "readOnly": True}],
    "annotations": {"a": "b"},
    "podAnnotations": {"a": "b", "kubectl.kubernetes.io/default-container": "sidecar"},
    "podLabels": {"a": "b"},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    ],
    "nodeSelector": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "high",
}


def helm(*arguments: str, values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run helm with these values on its standard input."""
    command = [str(HELM), *arguments, "--values", "-"]
    return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=120, check=False)


def template(
    values: Mapping[str, Any], version: str = KUBERNETES[-1], chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    """Run `helm template`; the version of Kubernetes is that of the cluster, which is absent here."""
    return helm("template", RELEASE, str(chart), "--namespace", NAMESPACE, "--kube-version", version, values=values)


class Strict(yaml.SafeLoader):
    """Loads YAML as Flux and other tools do: a key that is there twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - of PyYAML
        """Return the mapping, whose keys must differ."""
        keys = [key.value for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"{node.start_mark}: a key is there twice: {keys}"
        return super().construct_mapping(node, deep=deep)


def objects(values: Mapping[str, Any], version: str = KUBERNETES[-1], chart: Path = CHART) -> list[Object]:
    """Return the objects that the chart renders."""
    done = template(values, version, chart)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.load_all(done.stdout, Strict) if found]


@functools.cache
def case(name: str, version: str = KUBERNETES[-1]) -> list[Object]:
    """Return the objects of one of `CASES`."""
    return objects(CASES[name], version)


def one(found: list[Object], kind: str, name: str = r".*") -> Object:
    """Return the only object of this kind, whose name matches the pattern."""
    (match,) = [each for each in found if each["kind"] == kind and re.fullmatch(name, each["metadata"]["name"])]
    return match


def pod(found: list[Object]) -> Object:
    """Return the specification of the pods of the Deployment."""
    spec: Object = one(found, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(found: list[Object]) -> Object:
    """Return the container of the server."""
    (only,) = pod(found)["containers"]
    server: Object = only
    return server


def configuration(found: list[Object]) -> str:
    """Return the configuration file that the chart renders; empty if it uses an existing one."""
    for each in found:
        if each["metadata"]["name"].endswith("-config"):
            (text,) = (each.get("data") or each["stringData"]).values()
            return str(text)
    return ""
