"""HTTP: one shared session, time limits, and nothing left open when the pipe is dropped."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from .codec import JsonObject, dump_json, parse_json
from .errors import ANY_NUMBER, BROKE_OFF, PipeError, read_failure
from .settings import Settings

_MAX_JSON_BYTES = 64 * 1024 * 1024
_SHORTEST_KEY = 12
# What reading an answer raises when it breaks off; the second is what aiohttp does where it runs without its C extension.
BROKEN = (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError)


class Transport:
    """Sends requests. One session for all chats, made on first use, closed by itself when its owner is dropped."""

    def __init__(self) -> None:
        # How many answers are being read.
        self.running = 0
        self._session: aiohttp.ClientSession | None = None

    async def get_json(self, settings: Settings, path: str, seconds: float) -> object:
        """The body of a GET, parsed. Raises `PipeError`, for a refusal an `UpstreamError`."""
        async with self.send(settings, path, path, total=seconds) as response:
            try:
                return parse_json(await read_body(response, settings, seconds))
            except ValueError:
                told = f"{settings.base_url} does not answer like OpenRouter (no JSON came back). Check the valve BASE_URL."
                raise PipeError(told) from None

    async def get_bytes(self, url: str, limit: int) -> tuple[int, bytes]:
        """Status and body of a GET of any address, without the key. Never raises: 0 is no answer; too long is empty.

        Who calls it limits the time.
        """
        body = bytearray()
        try:
            async with self._open_session().get(url, max_redirects=3, proxy=_proxy_for(url)) as response:
                while len(body) <= limit and (piece := await response.content.readany()):
                    body += piece
                return response.status, bytes(body) if len(body) <= limit else b""
        except (*BROKEN, ValueError):
            return 0, b""

    @asynccontextmanager
    async def send(
        self, settings: Settings, path: str, asked: str, body: JsonObject | None = None, total: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send `body`, or a GET; inside the block the answer can be read. Raises `PipeError`, for a refusal `UpstreamError`.

        Leaving the block early closes the connection, so that the upstream stops working (and billing). A refusal
        names what was `asked` for. `total`: seconds until the end of the answer; without it `next_bytes` limits the reading.
        """
        base_url = settings.base_url
        if not base_url:
            raise PipeError("The valve BASE_URL does not hold the address of an API. An admin can correct it.")
        connect, seconds = settings.CONNECT_TIMEOUT_SECONDS, total or settings.READ_TIMEOUT_SECONDS
        failed: PipeError | None = None
        try:
            # Headers may come byte by byte.
            async with asyncio.timeout(connect + seconds):
                response = await self._open_session().request(
                    "POST" if body else "GET",
                    base_url + path,
                    data=dump_json(body) if body else None,
                    headers=_headers(settings),
                    # Not `sock_read`: aiohttp would set a timer anew with all that comes.
                    timeout=aiohttp.ClientTimeout(total=total, connect=connect),
                    allow_redirects=False,
                    proxy=_proxy_for(base_url),
                )
        except (*BROKEN, ValueError) as error:
            failed = connection_failed(error, settings, seconds)
        # Not inside: aiohttp's errors hold the request with its key, and would go along as the context of this one.
        if failed:
            raise failed
        with closing(response):
            if response.status >= 400:
                body_read = await read_body(response, settings, seconds)
                raise read_failure(
                    response.status, body_read, asked, _retry_after(response.headers.get("Retry-After", ""))
                )
            self.running += 1
            try:
                yield response
            finally:
                self.running -= 1

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=300)
            self._session = aiohttp.ClientSession(
                connector=connector,
                # What upstream wants remembered of one user's request must not go along with another's.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            weakref.finalize(self, _close_session, self._session, connector, asyncio.get_running_loop())
        return self._session


@lru_cache
def _proxy_for(url: str) -> str | None:
    """The environment's proxy for an address: companies reach the internet through one.

    aiohttp's `trust_env` would ask for it in threads at each request (0.4 ms), and fail where a `.netrc` names the host.
    """
    address = urlsplit(url)
    proxy = getproxies().get(address.scheme)
    if not proxy or proxy_bypass(address.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _retry_after(header: str) -> float:
    """The seconds in a `Retry-After` header: a number or a date; 0 where there is none."""
    try:
        seconds = float(header) if header[:1].isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    # A longer wait is as good as none.
    return min(max(0.0, seconds), 1e7)


def connection_failed(error: BaseException, settings: Settings, seconds: float) -> PipeError:
    """The error for a connection that could not be made or fell silent, `seconds` being the limit for that."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        told = f"did not answer within {settings.CONNECT_TIMEOUT_SECONDS} s. Try again."
    elif isinstance(error, TimeoutError):
        told = f"was silent for {seconds:.0f} s, so the request was ended. Try again."
    else:
        told = f"cannot be reached ({_cause_of(error)}). Check the network and the valve BASE_URL."
    return PipeError(f"{_host(settings)} {told}", ANY_NUMBER)


def _cause_of(error: BaseException) -> str:
    # The texts of these quote what came, whatever that was.
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what came back is not HTTP"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    inner = getattr(error, "os_error", None) or error
    return getattr(inner, "strerror", None) or str(inner) or type(error).__name__


def _host(settings: Settings) -> str:
    return settings.base_url.split("/")[2]


async def next_bytes(response: aiohttp.ClientResponse, seconds: float) -> bytes:
    """What of the body has come, or comes within so many seconds; nothing at its end. Raises `TimeoutError`, or `BROKEN`."""
    content = response.content
    # `read_nowait` loses what came before the connection broke.
    read = getattr(content, "_read_nowait", content.read_nowait)
    if content.total_bytes and (here := read(-1)):
        return bytes(here)
    try:
        # After garbage between two chunks aiohttp waits for ever, or is surprised.
        async with asyncio.timeout(seconds):
            return await content.readany()
    except RuntimeError:
        raise aiohttp.ClientConnectionError from None


async def read_body(response: aiohttp.ClientResponse, settings: Settings, seconds: float) -> bytes:
    """The whole body, unless it breaks off; nothing of one that is absurdly long. Of a refusal, what came in `seconds`."""
    body, failed = bytearray(), None
    try:
        async with asyncio.timeout(seconds if response.status >= 400 else None):
            while chunk := await next_bytes(response, seconds):
                body += chunk
                if len(body) > _MAX_JSON_BYTES:
                    return b""
    except TimeoutError as error:
        failed = connection_failed(error, settings, seconds)
    except BROKEN:
        failed = PipeError(BROKE_OFF.format(whose=_host(settings)), ANY_NUMBER)
    if failed and response.status < 400:
        raise failed
    return without_key(bytes(body), key_forms(settings))


def key_forms(settings: Settings) -> set[bytes]:
    """The key as upstream may quote it; none where it is so short that it is no secret (`none`, `openrouter`)."""
    key = settings.api_key.encode()
    # JSON may have a backslash before a slash, and JSON in JSON up to three.
    return {key.replace(b"/", b"\\" * count + b"/") for count in range(4) if len(key) >= _SHORTEST_KEY}


def without_key(data: bytes, forms: set[bytes]) -> bytes:
    """What upstream sent, without the key: some gateways quote the one they refuse, and not every key looks like one."""
    for form in forms:
        data = data.replace(form, b"\xe2\x80\xa6")
    return data


def _headers(settings: Settings) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "HTTP-Referer": settings.HTTP_REFERER,
        "X-OpenRouter-Title": settings.APP_TITLE,
        "X-Title": settings.APP_TITLE,
        "X-OpenRouter-Metadata": "enabled",
        "Authorization": f"Bearer {settings.api_key}",
    }
    return {name: value for name, value in headers.items() if value}


def _close_session(
    session: aiohttp.ClientSession, connector: aiohttp.TCPConnector, loop: asyncio.AbstractEventLoop
) -> None:
    """Close the session of a pipe that was dropped, from whichever thread."""
    session.detach()
    # aiohttp's public close() is a coroutine; this is the part of it that closes the sockets.
    if loop.is_running():
        loop.call_soon_threadsafe(connector._close)
    else:
        connector._close()
