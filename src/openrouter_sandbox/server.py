"""The HTTP server: routes, the record of what arrived, and the control route."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from openrouter_sandbox import account, chat, icons, responses
from openrouter_sandbox.answers import Answer, complete
from openrouter_sandbox.calls import Call, read_call
from openrouter_sandbox.delivery import replaced, send_json, send_stream
from openrouter_sandbox.errors import ApiError
from openrouter_sandbox.events import Envelope, token_id
from openrouter_sandbox.names import Preset, Row
from openrouter_sandbox.rules import Rule, take_rule

API = "/api/v1"
LARGEST_BODY = 256 * 1024 * 1024  # pictures and documents travel inside the JSON
LOOPBACK = ("127.0.0.1", "::1")
BACKLOG = 1024

RENDERERS = {"/chat/completions": chat, "/responses": responses}


@dataclass(frozen=True)
class Received:
    """One request under /api/v1 or /icons. `headers` ignore case; `body`: parsed JSON, or None; `query`: decoded."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    query: Mapping[str, str]


PlainAnswer = Callable[["Sandbox", web.Request], dict[str, Any]]


def unknown_path(sandbox: Sandbox, request: web.Request) -> dict[str, Any]:
    raise ApiError(404, "Not Found")


# Path -> whether it needs a key, and its answer.
PLAIN: dict[str, tuple[bool, PlainAnswer]] = {
    "/models": (False, lambda sandbox, request: account.models(request.path, request.query, sandbox.catalog)),
    "/models/user": (True, lambda sandbox, request: account.models(request.path, request.query, sandbox.catalog)),
    "/model/{author}/{slug}": (False, lambda sandbox, request: account.model(model_id(request), sandbox.catalog)),
    "/key": (True, lambda sandbox, request: account.key(request.headers["Authorization"].split()[-1])),
    "/presets": (True, lambda sandbox, request: account.presets(request.query, sandbox.presets)),
    "/presets/{slug}": (True, lambda sandbox, request: account.preset(request.match_info["slug"], sandbox.presets)),
}


def model_id(request: web.Request) -> str:
    return f"{request.match_info['author']}/{request.match_info['slug']}"


class _Greeter(asyncio.Protocol):
    """Says something to whoever connects, and closes."""

    def __init__(self, greeting: bytes) -> None:
        self._greeting = greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._greeting)
        transport.close()


class Sandbox:
    """The server, for use in a test or a benchmark: `async with Sandbox() as sandbox: … sandbox.base_url`.

    `catalog` and `presets` (lists of rows as the API answers them; None: the packaged ones), `icons` (name -> file)
    and `rules` may be changed at any time. `open_streams`: inference requests being answered now. `connections`: TCP
    connections accepted so far. `greeting`: what each new connection gets before it is closed, instead of being listened to.
    """

    def __init__(
        self,
        catalog: list[Row] | None = None,
        presets: list[Preset] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.catalog: list[Row] = account.packaged("catalog.json") if catalog is None else catalog
        self.presets: list[Preset] = account.packaged("presets.json") if presets is None else presets
        self.rules: list[Rule] = []
        self.received: list[Received] = []
        self.icons = icons.files()
        self.open_streams = 0
        self.connections = 0
        self.greeting: bytes | None = None
        self.host = host
        self.port = port
        self._generations = 0
        self._server: asyncio.Server | None = None
        # Cancelling handlers is what makes a client's disconnect felt in the middle of a pause.
        self._runner = web.AppRunner(
            self._application(), handler_cancellation=True, shutdown_timeout=0.1, access_log=None
        )

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}{API}"

    @property
    def icon_url(self) -> str:
        return f"http://{self.host}:{self.port}/icons/{{name}}.png"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(
            self._accept, self.host, self.port, backlog=BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    def hang_up(self) -> None:
        """Close all connections, those that are kept for the next request among them."""
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            connection.force_close()

    def _accept(self) -> asyncio.BaseProtocol:
        self.connections += 1
        if self.greeting is not None:
            return _Greeter(self.greeting)
        server = self._runner.server
        assert server is not None
        return server()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._api_errors], client_max_size=LARGEST_BODY)
        for path, (needs_key, answer) in PLAIN.items():
            app.router.add_get(API + path, self._plain(needs_key, answer))
        for path in RENDERERS:
            app.router.add_post(API + path, self._infer)
        app.router.add_route("*", API + "/{path:.*}", self._plain(False, unknown_path))
        app.router.add_get("/icons/{name}.png", self._icon)
        app.router.add_post("/sandbox/rules", self._add_rules)
        app.router.add_delete("/sandbox/rules", self._clear_rules)
        app.router.add_get("/sandbox/received", self._show_received)
        app.router.add_delete("/sandbox/received", self._clear_received)
        return app

    @web.middleware
    async def _api_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/sandbox/") and request.remote not in LOOPBACK:
            raise web.HTTPForbidden(text="The control route answers this computer only.")
        try:
            return await handler(request)
        except ApiError as error:
            return web.json_response(error.body(), status=error.status)
        except ConnectionResetError:
            # The connection is gone, so this handler is about to be cancelled; raising would only log a traceback.
            return await asyncio.Future()

    async def _record(self, request: web.Request) -> Received:
        try:
            body = json.loads(await request.read())
        except ValueError:
            body = None
        self.received.append(Received(request.method, request.path, request.headers, body, request.query))
        return self.received[-1]

    def _plain(self, needs_key: bool, answer: PlainAnswer) -> Handler:
        """A handler for a JSON document; a rule may replace it, but not for a request without a key."""

        async def handle(request: web.Request) -> web.StreamResponse:
            await self._record(request)
            if needs_key:
                account.check_key(request.headers.get("Authorization"))
            rule = take_rule(self.rules, request.path, None)
            await asyncio.sleep(rule.delay_seconds)
            if rule.replaces:
                return await replaced(request, rule)
            return await send_json(request, answer(self, request), {}, rule)

        return handle

    async def _icon(self, request: web.Request) -> web.StreamResponse:
        await self._record(request)
        rule = take_rule(self.rules, request.path, None)
        await asyncio.sleep(rule.delay_seconds)
        if rule.replaces:
            return await replaced(request, rule)
        return await icons.serve(request, request.match_info["name"], self.icons)

    # Inference

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        body = (await self._record(request)).body
        account.check_key(request.headers.get("Authorization"))
        if body is None:
            raise ApiError(400, "Invalid JSON in request body")
        call = read_call(request.path.removeprefix(API), body, self.catalog, self.presets)
        rule = take_rule(self.rules, request.path, body.get("model"))
        self.open_streams += 1
        try:
            return await self._answer(request, call, rule)
        finally:
            self.open_streams -= 1

    async def _answer(self, request: web.Request, call: Call, rule: Rule) -> web.StreamResponse:
        await asyncio.sleep(rule.delay_seconds)
        if rule.replaces:
            return await replaced(request, rule)
        self._generations += 1
        created = int(time.time())
        envelope = Envelope(
            id=token_id(f"gen-{created}-", str(self._generations), 20),
            created=created,
            metadata=request.headers.get("X-OpenRouter-Metadata") == "enabled",
            usage_form=rule.usage_form,
        )
        answer = complete(rule.answer or Answer(), call)
        renderer = RENDERERS[call.endpoint]
        headers = {"X-Generation-Id": envelope.id}
        if call.body.get("stream"):
            return await send_stream(request, renderer.render_stream(call, answer, envelope), headers, rule)
        whole = {"error": answer.error} if answer.error else renderer.render_json(call, answer, envelope)
        return await send_json(request, whole, headers, rule)

    # Control route

    async def _add_rules(self, request: web.Request) -> web.Response:
        try:
            given = await request.json()
            rules = [Rule.from_json(item) for item in (given if isinstance(given, list) else [given])]
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        self.rules.extend(rules)
        return web.json_response({"rules": len(self.rules)})

    async def _clear_rules(self, request: web.Request) -> web.Response:
        self.rules.clear()
        return web.json_response({"rules": 0})

    async def _show_received(self, request: web.Request) -> web.Response:
        shown = [{**vars(item), "headers": dict(item.headers), "query": dict(item.query)} for item in self.received]
        counts = {"open_streams": self.open_streams, "connections": self.connections}
        return web.json_response({"received": shown, **counts})

    async def _clear_received(self, request: web.Request) -> web.Response:
        self.received.clear()
        return web.json_response({"received": 0})
