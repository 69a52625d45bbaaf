"""Tests of the Helm chart with the real helm: `make test-chart`."""
