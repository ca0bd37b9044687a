"""A strict local stand-in for the OpenRouter API."""

from openrouter_sandbox.answers import Answer, ToolCall
from openrouter_sandbox.rules import Rule
from openrouter_sandbox.server import Received, Sandbox

__all__ = ["Answer", "Received", "Rule", "Sandbox", "ToolCall"]
