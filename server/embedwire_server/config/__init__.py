"""Configuration: settings, their sources, validation and reload."""
