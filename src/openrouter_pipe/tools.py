"""Tool definitions and the choice among them, for each endpoint. OpenRouter's own server tools are passed through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .codec import dicts, mapping

# OpenRouter's server tools that exist on /responses only; all others, also future ones, are passed through.
# Source: OpenRouter's OpenAPI document, ChatFunctionTool and ResponsesRequest.tools.
_RESPONSES_ONLY = ("openrouter:apply_patch", "openrouter:shell", "openrouter:tool_search")
_SHORTHANDS = ("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11")
_CHOICES = ("auto", "none", "required")
# Source: OpenRouter's OpenAPI document, OpenAIResponsesToolChoice.
_RESPONSES_CHOICES = ("allowed_tools", "apply_patch", "shell", "web_search_preview", "web_search_preview_2025_03_11")


def chat_tools(tools: object) -> list[dict[str, Any]]:
    """The definitions for /chat/completions, without those that have no place there."""
    kept = []
    for tool in dicts(tools):
        if function := _function_of(tool):
            more = _given(tool, "cache_control", "eager_input_streaming")
            kept.append({"type": "function", "function": function, **more})
        elif _is_chat_server_tool(tool.get("type")):
            kept.append(tool)
    return kept


def responses_tools(tools: object) -> list[dict[str, Any]]:
    """The definitions for /responses, where a function is flat, without those that make no sense."""
    kept = []
    for tool in dicts(tools):
        if function := _function_of(tool):
            # `parameters` is required here, even where a function has none.
            kept.append({"type": "function", "parameters": None, **function, **_given(tool, "defer_loading")})
        elif tool.get("type") not in (None, "", "function"):
            kept.append(tool)
    return kept


def chat_tool_choice(choice: object) -> object:
    """`tool_choice` as /chat/completions takes it; None when it makes no sense there."""
    if function := _function_of(mapping(choice)):
        return {"type": "function", "function": {"name": function["name"]}}
    return choice if choice in _CHOICES or _is_chat_server_tool(mapping(choice).get("type")) else None


def responses_tool_choice(choice: object) -> object:
    """`tool_choice` as /responses takes it; None when it makes no sense there."""
    if function := _function_of(mapping(choice)):
        return {"type": "function", "name": function["name"]}
    return choice if choice in _CHOICES or mapping(choice).get("type") in _RESPONSES_CHOICES else None


def _is_chat_server_tool(kind: object) -> bool:
    kind = str(kind)
    return kind in _SHORTHANDS or (kind.startswith("openrouter:") and kind not in _RESPONSES_ONLY)


def _given(source: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: source[key] for key in keys if source.get(key) is not None}


def _function_of(tool: Mapping[str, Any]) -> dict[str, Any] | None:
    """The function that a definition or a choice names, nested (as Open WebUI sends it) or flat; None when there is none."""
    function = mapping(tool.get("function", tool))
    named = tool.get("type") == "function" and isinstance(function.get("name"), str) and function["name"]
    return _given(function, "name", "description", "parameters", "strict") if named else None
