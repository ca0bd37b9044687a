"""The OpenRouter pipe for Open WebUI, as a package; `make bundle` merges it into the one file that admins install."""

__version__ = "0.1.0"
