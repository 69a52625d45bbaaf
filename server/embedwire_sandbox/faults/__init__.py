"""Scripted faults: their script, their effect on a call, and their HTTP interface."""
