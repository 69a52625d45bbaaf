"""Callers that are slow, broken or hostile: what each of them gets, and that others are still served."""
