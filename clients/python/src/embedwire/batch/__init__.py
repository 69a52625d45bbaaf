"""Batches: any number of inputs of a source, embedded into files, which can be stopped and resumed.

The extra `embedwire[batch]` installs what it needs.
"""
