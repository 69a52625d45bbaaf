"""Admission control: caller quotas and load shedding, checked once for each request, before its first event."""
