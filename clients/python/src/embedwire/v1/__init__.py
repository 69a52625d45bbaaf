"""Generated stubs of the contract, version 1."""
