"""Tests of recording rules and alerts with promtool."""
