"""The kernel: an event bus, a model slot and settings. Everything else is an extension."""

__version__ = "0.1.0"
