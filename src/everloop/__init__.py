"""The whole life of a model from one project file."""

__version__ = "0.1.0"
