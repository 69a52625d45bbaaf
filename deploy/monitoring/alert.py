"""What an alert consists of."""

import dataclasses
from typing import Literal

Party = Literal["caller", "policy", "upstream", "server"]
Severity = Literal["critical", "warning"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert with its runbook.

    Attributes:
        name: name, which is also the title of its section.
        party: the party whose component to look at first: callers, a policy of the server, the upstream, the server.
        severity: `critical` for a person now, `warning` for a ticket.
        condition: the condition in one sentence of Markdown.
        expression: the condition in PromQL.
        for_: how long the condition must hold, as a duration of Prometheus.
        summary: one line; may contain templates of Prometheus.
        description: what happens, and what it means for callers; may contain templates of Prometheus.
        meaning: of the runbook: what it means, in Markdown; may be indented.
        look: of the runbook: what to look at, in this order, with queries as blocks.
        actions: of the runbook: what to do.
    """

    name: str
    party: Party
    severity: Severity
    condition: str
    expression: str
    for_: str
    summary: str
    description: str
    meaning: str
    look: str
    actions: str

    @property
    def anchor(self) -> str:
        """Identifier of its section on the page of alerts: the title in lower case."""
        return self.name.lower()
