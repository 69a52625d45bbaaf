"""The Python side of Embedwire: the generated stubs are in `embedwire.v1`."""
