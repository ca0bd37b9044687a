"""The OpenRouter pipe for Open WebUI."""

__version__ = "0.1.0"
