"""All alerts, in the order of the page."""

from deploy.monitoring import (
    availability_alerts,
    caller_alerts,
    load_alerts,
    rate_limit_alerts,
    server_alerts,
    store_alerts,
    upstream_alerts,
)
from deploy.monitoring.alert import Alert

ALERTS: tuple[Alert, ...] = (
    *availability_alerts.ALERTS,
    *upstream_alerts.ALERTS,
    *rate_limit_alerts.ALERTS,
    *load_alerts.ALERTS,
    *caller_alerts.ALERTS,
    *server_alerts.ALERTS,
    *store_alerts.ALERTS,
)
