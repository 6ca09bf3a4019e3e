"""The HTTP front: a bare ASGI application over `ApiServerCore`.

One coroutine per request, on one event loop. A watch waits for three things at once without polling: new lines, the
next tick (bookmark or timeout) and the client's going away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from localmodel.runtime.errors import RequestEntityTooLargeError

from .core import ApiServerCore
from .messages import JSON, Request, Response, WatchResponse
from .resources import error_response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a request body, as kube-apiserver limits it."""


class AsgiApp:
    """The ASGI application."""

    def __init__(self, core: ApiServerCore) -> None:
        self._core = core
        # The watches that are being served; ended when the server stops.
        self._watches: set[WatchResponse] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _read_body(receive)
        if body is None:
            error = RequestEntityTooLargeError.of(f"Request entity too large: limit is {BODY_LIMIT}")
            await _send_response(send, error_response(error))
            return
        answer = self._core.handle(_request(scope, body))
        if isinstance(answer, Response):
            await _send_response(send, answer)
            return
        self._watches.add(answer)
        try:
            await _serve_watch(answer, receive, send)
        finally:
            answer.close()
            self._watches.discard(answer)

    def end_watches(self) -> None:
        """Ends all watches. Called on the event loop."""
        for watch in list(self._watches):
            watch.finish()


def _request(scope: Message, body: bytes) -> Request:
    headers = {}
    groups = []
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = text
        if key == "impersonate-group":
            groups.append(text)
    return Request(
        method=scope["method"],
        path=(scope.get("raw_path") or scope["path"].encode()).decode("latin-1"),
        raw_query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
        impersonated_groups=tuple(groups),
    )


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body; None if it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_LIMIT:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _send_response(send: Send, response: Response) -> None:
    headers = [
        (b"content-type", response.content_type.encode()),
        (b"content-length", str(len(response.body)).encode()),
        (b"cache-control", b"no-cache, private"),
        *((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in response.headers),
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _serve_watch(watch: WatchResponse, receive: Receive, send: Send) -> None:
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def wake() -> None:
        # From any thread; after the loop has stopped there is nobody to wake.
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    disconnect = asyncio.ensure_future(_disconnected(receive))
    disconnect.add_done_callback(lambda _: watch.close())
    ticks = _Ticks(loop, watch)
    headers = [(b"content-type", JSON.encode()), (b"cache-control", b"no-cache, private")]
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # An empty part makes the server send the headers at once: clients wait for them.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        while True:
            changed.clear()
            batch = watch.take(wake)
            if batch:
                await send({"type": "http.response.body", "body": batch, "more_body": True})
            elif watch.ended:
                break
            else:
                await changed.wait()
        if not disconnect.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        ticks.stop()
        disconnect.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Ticks:
    """Calls a watch's `tick` whenever it is due."""

    def __init__(self, loop: asyncio.AbstractEventLoop, watch: WatchResponse) -> None:
        self._loop, self._watch = loop, watch
        self._handle: asyncio.TimerHandle | None = None
        self._tick()

    def _tick(self) -> None:
        due = self._watch.tick()
        if not self._watch.ended:
            self._handle = self._loop.call_later(max(due, 0.01), self._tick)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
