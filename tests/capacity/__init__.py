"""Simulation of many replicas that share a quota through one Redis; `make capacity` prints its table."""
