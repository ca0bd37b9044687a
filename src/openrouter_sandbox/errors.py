"""Errors in OpenRouter's shape (documentation page "Errors and Debugging")."""

from __future__ import annotations

from typing import Any

DOCS_URL = "https://openrouter.ai/docs/api_reference/errors-and-debugging"

# What the reference says for a status; used where a scripted rule gives a status and no body.
STATUS_MESSAGES = {
    400: "Invalid request parameters",
    401: "No auth credentials found",
    402: "Insufficient credits. Add more using https://openrouter.ai/credits",
    403: "Only management keys can perform this operation",
    404: "Resource not found",
    408: "Operation timed out. Please try again later.",
    413: "Request payload too large",
    422: "Invalid argument",
    429: "Rate limit exceeded",
    500: "Internal Server Error",
    502: "Provider returned error",
    503: "Service temporarily unavailable",
    524: "Request timed out. Please try again later.",
    529: "Provider returned error",
}


class ApiError(Exception):
    """A refusal: the HTTP status is `error.code`; `availability` is the object of the errors page, or None.

    `raw`: what the provider said, where the refusal is the provider's.
    """

    def __init__(
        self, status: int, message: str, *, availability: dict[str, Any] | None = None, raw: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.availability = availability
        self.raw = raw

    def body(self) -> dict[str, Any]:
        """The JSON answer: `{"error": {"message", "code", "availability"?, "metadata"?}}`."""
        error: dict[str, Any] = {"message": self.message, "code": self.status}
        if self.availability is not None:
            error["availability"] = self.availability
        if self.raw is not None:
            error["metadata"] = {"raw": self.raw}
        return {"error": error}


def unavailable(
    status: int, message: str, *, code: str, requested: list[str], fallbacks: list[str] | None = None
) -> ApiError:
    """An error with `error.availability`, as sent since August 2026."""
    availability = {
        "code": code,
        "retryable": False,
        "requested_models": requested,
        "fallback_models": fallbacks or [],
        "docs_url": DOCS_URL,
    }
    return ApiError(status, message, availability=availability)


def status_body(status: int) -> dict[str, Any]:
    """The body for a bare status."""
    return ApiError(status, STATUS_MESSAGES.get(status, "Provider returned error")).body()
