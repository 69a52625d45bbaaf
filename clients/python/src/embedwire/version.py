"""The version of this package."""

import importlib.metadata

__version__ = importlib.metadata.version("embedwire")
