"""Tool definitions and the choice among them, for each endpoint. OpenRouter's own server tools are passed through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Server tools that /chat/completions knows; the others, and the makers' native ones (`mcp`, …), exist on /responses only.
# Source: OpenRouter's OpenAPI document, ChatFunctionTool and ResponsesRequest.tools.
_CHAT_SERVER_TOOLS = frozenset(
    f"openrouter:{name}"
    for name in (
        *("advisor", "bash", "datetime", "experimental__search_models", "files", "fusion", "image_generation"),
        *("subagent", "web_fetch", "web_search"),
    )
) | {"web_search", "web_search_preview"}


def chat_tools(tools: object) -> tuple[list[dict[str, Any]], list[str]]:
    """The definitions for /chat/completions, and the names of those that have no place there."""
    kept: list[dict[str, Any]] = []
    left_out: list[str] = []
    for tool in _tools_of(tools):
        if function := _function_of(tool):
            extras = {"cache_control": tool["cache_control"]} if "cache_control" in tool else {}
            kept.append({"type": "function", "function": function, **extras})
        elif tool.get("type") in _CHAT_SERVER_TOOLS:
            kept.append(tool)
        else:
            left_out.append(f"tool {tool.get('type')}")
    return kept, left_out


def responses_tools(tools: object) -> tuple[list[dict[str, Any]], list[str]]:
    """The definitions for /responses, where a function is flat; and the names of those that make no sense."""
    kept: list[dict[str, Any]] = []
    left_out: list[str] = []
    for tool in _tools_of(tools):
        function = _function_of(tool)
        if function:
            # `parameters` is required here, even where a function has none.
            kept.append({"type": "function", "parameters": None, **function})
        elif tool.get("type") not in (None, "function"):
            kept.append(tool)
        else:
            left_out.append("tool without a name")
    return kept, left_out


def chat_tool_choice(choice: object) -> object:
    """`tool_choice` as /chat/completions takes it."""
    name = _chosen_function(choice)
    return {"type": "function", "function": {"name": name}} if name else choice


def responses_tool_choice(choice: object) -> object:
    """`tool_choice` as /responses takes it."""
    name = _chosen_function(choice)
    return {"type": "function", "name": name} if name else choice


def _tools_of(tools: object) -> list[dict[str, Any]]:
    return [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []


def _function_of(tool: Mapping[str, Any]) -> dict[str, Any] | None:
    """The function that a definition describes, nested (as Open WebUI sends it) or flat; None when it is not one."""
    if tool.get("type") != "function":
        return None
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        return None
    known = ("name", "description", "parameters", "strict")
    return {key: function[key] for key in known if function.get(key) is not None}


def _chosen_function(choice: object) -> str | None:
    if not isinstance(choice, dict) or choice.get("type") != "function":
        return None
    function = choice.get("function", choice)
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None
