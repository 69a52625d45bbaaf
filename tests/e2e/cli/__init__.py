"""The command `embedwire` as people and scripts run it."""
