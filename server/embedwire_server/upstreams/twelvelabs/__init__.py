"""The API of TwelveLabs: a module for each version."""
