"""Recording rules, alerts and runbooks for Prometheus.

`python -m docs.reference` writes them to `deploy/helm/embedwire/files/rules.yaml` and `docs/alerts.md`.
"""
