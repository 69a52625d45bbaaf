"""Scripted incidents: real servers on a real Prometheus, with the alert rules and the dashboard of `deploy`.

scene        the server of an incident, its upstream and its clients
faults       what goes wrong
incidents    the incidents, each with the alerts and panels that must show it
timeline     one incident from normal traffic to the end of its alerts
dashboard    the queries of the dashboard, evaluated by Prometheus
changes      the panels that an incident changed
status_page  the status page as lines of text
stage        all incidents at the same time on one Prometheus
report       the output of `make incident`
docs         the table and the plots (`plot`) of docs/monitoring.md
"""
