"""SDK clients for all keys over one HTTP pool, on the aiohttp transport; the SDK is imported when first needed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import importlib
import os
import select
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache, partial
from typing import Any
from weakref import WeakSet

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.credentials import APICredential
from agentdash.engine.pricing import load_prices
from agentdash.engine.processors.base import LEAVING
from agentdash.engine.processors.bounds import bound

_REFRESH_INTERVAL_S = 30.0
_CLOSE_AFTER_S = 900.0
_PRICES_AFTER_S = 0.3
_KEY_HEADERS = frozenset({"authorization", "x-api-key"})


class AnthropicClients:
    """`ClientSource` of the Anthropic SDK.

    The SDK's own retries are off (they hide rate limits and obey any `retry-after`), and key and base URL are always
    given: with none the SDK would look in the environment and in profiles on disk. `connect_timeout_s` is the SDK's
    only timeout here; the waits after it are the processor's.
    """

    def __init__(self, *, max_connections: int, connect_timeout_s: float = 10.0, clock: Clock = SYSTEM_CLOCK) -> None:
        self._max_connections = max_connections
        self._connect_timeout_s = connect_timeout_s
        self._clock = clock
        self._http: Any = None
        self._clients: dict[str, Any] = {}
        self._retired: list[tuple[float, Any]] = []
        self._refreshed_at = clock.monotonic()
        self._prices: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await _in_daemon_thread(_prepare)
        self._prices = asyncio.create_task(_load_prices_soon(), name="agentdash-prices")

    def client(self, credential: APICredential) -> Any:
        client = self._clients.get(credential.fingerprint)
        if client is None:
            client = self._make(credential, {})
            # Headers that name a key are the credential's, in every spelling: ANTHROPIC_CUSTOM_HEADERS would go first.
            if said := _key_headers(client):
                client = self._make(credential, said)
            self._clients[credential.fingerprint] = client
        return client

    async def refresh(self) -> None:
        now = self._clock.monotonic()
        if self._http is None or now - self._refreshed_at < _REFRESH_INTERVAL_S:
            return
        self._refreshed_at = now
        _tls_context.cache_clear()  # the certificates may be what was wrong
        await asyncio.to_thread(_tls)
        if self._http is None:  # closed meanwhile
            return
        # Requests under way still use the old pool: it is closed when none of them can be left.
        self._retired.append((now, self._http))
        self._http = None
        self._clients.clear()
        while self._retired and now - self._retired[0][0] > _CLOSE_AFTER_S:
            await self._retired.pop(0)[1].aclose()

    async def close(self) -> None:
        if self._prices is not None:
            self._prices.cancel()
            await asyncio.gather(self._prices, return_exceptions=True)
        for _, http in self._retired:
            await http.aclose()
        if self._http is not None:
            await self._http.aclose()
        self._http = None
        self._retired.clear()
        self._clients.clear()

    def _make(self, credential: APICredential, headers: dict[str, Any]) -> Any:
        import anthropic

        return anthropic.AsyncAnthropic(
            api_key=credential.api_key.reveal(),
            base_url=credential.server,
            max_retries=0,
            http_client=self._shared_http(),
            timeout=self._timeout(),
            default_headers=headers,
        )

    def _shared_http(self) -> Any:
        if self._http is None:
            import anthropic
            import httpx2

            limits = httpx2.Limits(max_connections=self._max_connections, max_keepalive_connections=None)
            # Redirects are not followed: a key must not travel to another host.
            self._http = anthropic.DefaultAioHttpClient(
                limits=limits,
                timeout=self._timeout(),
                follow_redirects=False,
                verify=_tls(),
                event_hooks={"request": [_leaves], "response": [bound]},
            )
            for transport in (self._http._transport, *self._http._mounts.values()):
                if transport is not None:
                    transport.client = partial(_session, transport)
        return self._http

    def _timeout(self) -> Any:
        import httpx2

        return httpx2.Timeout(None, connect=self._connect_timeout_s)


def _session(transport: Any) -> Any:
    """The transport's own session, but never with a connection on which something came unasked while it was idle.

    aiohttp would take that, a second answer to the last request, for the answer to the next one.
    """
    transport.client = None
    session = transport.get_client()
    connect = session.connector.connect
    used: WeakSet[Any] = WeakSet()

    async def connect_clean(*request: Any, **more: Any) -> Any:
        while True:
            connection = await connect(*request, **more)
            protocol = connection.protocol
            if protocol not in used:
                used.add(protocol)
                return connection
            if not protocol.should_close and not _is_readable(protocol.transport):
                return connection
            connection.close()

    session.connector.connect = connect_clean
    return session


def _is_readable(transport: Any) -> bool:
    """Whether something has come that the loop has not read yet, be it the connection's end."""
    connection = transport.get_extra_info("socket")
    if not hasattr(select, "poll"):
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


async def _leaves(request: Any) -> None:
    """A request that has its moment (`LEAVING`) is built and gets its connection before it, and is written then.

    That is done by its body, which the transport asks for when all else is ready: it writes the headers with it. The
    wait for the loop's other work, and for a new connection, is over by then.
    """
    leaving = LEAVING.get()
    if leaving is None:
        return
    try:
        body = request.content
        del request._content  # the transport takes a body that is not read yet as a stream
    except AttributeError:  # another SDK's request: at its moment then, but for what the transport does after it
        await leaving()
    else:
        request.stream = _stream_at(leaving, body)


def _stream_at(leaving: Callable[[], Awaitable[None]], body: bytes) -> Any:
    import httpx2

    class AtItsMoment(httpx2.AsyncByteStream):
        has_left = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            await leaving()
            self.has_left = True
            yield body

    return AtItsMoment()


async def _load_prices_soon() -> None:
    """Not before the first requests are on their way: an answer needs the prices, and takes its time."""
    await asyncio.sleep(_PRICES_AFTER_S)
    await asyncio.to_thread(load_prices)


async def _in_daemon_thread(function: Callable[[], None]) -> None:
    """Call it beside the loop. Unlike one of the loop's own threads, one that never ends does not keep the process."""
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()

    def call() -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for whoever waits
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=call, name="agentdash-sdk", daemon=True).start()
    await asyncio.wrap_future(future)


def _prepare() -> None:
    _import_sdk()
    _tls()


def _tls() -> ssl.SSLContext:
    """What the SDK would make for each HTTP pool, reading the machine's certificates in 25 ms of the loop's time."""
    return _tls_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=1)
def _tls_context(cert_file: str | None, cert_folder: str | None) -> ssl.SSLContext:
    import httpx2

    context: ssl.SSLContext = httpx2.create_ssl_context()  # which looks at these variables
    return context


def _import_sdk() -> None:
    """Import the SDK: three thousand modules, most of a start.

    The garbage collector would walk the growing heap again and again meanwhile, and all of it in each full collection
    of a long run: it rests during the import, and what was imported is then left out of its sight for good.
    """
    if "anthropic.resources.messages" in sys.modules:
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module("anthropic")
        importlib.import_module("anthropic.resources.messages")
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


def _key_headers(client: Any) -> dict[str, Any]:
    """What the headers that name a key have to be, if the client has any that are not its own."""
    import anthropic

    own = {name.lower(): value for name, value in client.auth_headers.items()}
    found = {name: value for name, value in client.default_headers.items() if name.lower() in _KEY_HEADERS}
    if all(own.get(name.lower()) == value for name, value in found.items()):
        return {}
    return {name: own.get(name.lower(), anthropic.omit) for name in found}
