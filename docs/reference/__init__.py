"""Generated parts of pages: `python -m docs.reference`, which is `make docs-reference`."""
