"""A stand-in for an API server: fast enough to be no part of what is measured, and the same for both sides.

It serves lists (paged, or whole at resource version 0), watches (chunked, one chunk for each event, bookmarks, streamed
lists) and status patches of the objects of `objects`, encoded beforehand. It keeps no state but the last resource
version: a patch is answered with the object at a new version. Clients ask for events at `/benchmark/events`.

One process, one thread, no TLS. Run as `python -m benchmark.server --nodes 5000 --customs 5000`; it prints its port and
ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from .objects import CUSTOM_PLURAL, FIRST_VERSION, GROUP, VERSION, Encoded, model_node, node

BATCH = 1 << 18
"""Bytes that a flood of events writes at once."""
WATCHER_TIMEOUT = 30.0
"""Seconds that a request for events waits for somebody to watch."""
SETTLE = 0.05
"""Seconds between the first watcher and the first event."""
BOOKMARK_PERIOD = 10.0
"""Seconds. A real server's is a minute; the window of the idle manager is to see some."""
NOT_FOUND = b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}'


class Collection:
    """All objects of one resource."""

    def __init__(self, kind: str, api_version: str, count: int, make: Callable[..., Encoded]) -> None:
        self.kind = kind
        self.api_version = api_version
        self.objects = [make(index) for index in range(count)]
        self.version = FIRST_VERSION + count
        self.watchers: set[Protocol] = set()
        self._items = [make(index, in_list=True).at(FIRST_VERSION + index) for index in range(count)]
        self._whole = self._list(self._items, "")
        self.initial_batches = list(_batched(self._initial_events()))
        """The answer to sendInitialEvents, in batches to write at once."""

    def page(self, limit: int, start: int) -> bytes:
        """A list of at most `limit` items from `start` on."""
        if not limit or (start == 0 and limit >= len(self._items)):
            return self._whole
        end = start + limit
        return self._list(self._items[start:end], str(end) if end < len(self._items) else "")

    def _list(self, items: list[bytes], continue_: str) -> bytes:
        metadata = msgspec.json.encode({"resourceVersion": str(self.version), "continue": continue_})
        head = f'{{"kind":"{self.kind}List","apiVersion":"{self.api_version}","metadata":'.encode()
        return head + metadata + b',"items":[' + b",".join(items) + b"]}"

    def _initial_events(self) -> Iterator[bytes]:
        for index, encoded in enumerate(self.objects):
            yield event("ADDED", encoded.at(FIRST_VERSION + index))
        yield self.bookmark(b'{"k8s.io/initial-events-end":"true"}')

    def bookmark(self, annotations: bytes = b"{}") -> bytes:
        type_meta = f'"kind":"{self.kind}","apiVersion":"{self.api_version}"'.encode()
        metadata = b'{"resourceVersion":"%d","annotations":%s}' % (self.version, annotations)
        return event("BOOKMARK", b'{%s,"metadata":%s}' % (type_meta, metadata))

    def next_event(self) -> bytes:
        """The next object, round and round, changed now."""
        return self.event_at(self.skip())

    def skip(self) -> int:
        """A new resource version."""
        self.version += 1
        return self.version

    def event_at(self, version: int) -> bytes:
        encoded = self.objects[version % len(self.objects)]
        return event("MODIFIED", encoded.at(version, time.monotonic_ns()))

    def patched(self, index: int) -> bytes:
        return self.objects[index % len(self.objects)].at(self.skip())


def event(type_: str, data: bytes) -> bytes:
    """One watch event as one HTTP chunk."""
    line = b'{"type":"%s","object":%s}\n' % (type_.encode(), data)
    return b"%x\r\n%s\r\n" % (len(line), line)


def _batched(events: Iterable[bytes]) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for encoded in events:
        batch.append(encoded)
        size += len(encoded)
        if size >= BATCH:
            yield b"".join(batch)
            batch, size = [], 0
    yield b"".join(batch)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, str]


class Protocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self.watching: Collection | None = None
        self.wants_bookmarks = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=BATCH)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.watching is not None:
            self.watching.watchers.discard(self)
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            length = content_length(head)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            parts = urlsplit(target)
            self._server.handle(self, Request(method, parts.path, dict(parse_qsl(parts.query))))

    def answer(self, body: bytes, status: str = "200 OK") -> None:
        self.transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % (status.encode(), len(body))
        )
        self.transport.write(body)

    def watch(self, collection: Collection, *, initial: bool, bookmarks: bool) -> None:
        """Answers with the events of the collection from now on."""
        self.wants_bookmarks = bookmarks
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.watching = collection
        if initial:
            self._server.spawn(self._begin(collection))
        else:
            collection.watchers.add(self)

    async def _begin(self, collection: Collection) -> None:
        for batch in collection.initial_batches:
            await self.write(batch)
        collection.watchers.add(self)

    async def write(self, data: bytes) -> None:
        """Waits while the client does not read."""
        await self._writable.wait()
        if not self.transport.is_closing():
            self.transport.write(data)


def content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


class Server:
    """The resources and what is under way."""

    def __init__(self, nodes: int, customs: int, kinds: int) -> None:
        """`kinds`: how many more resources there are, named kind0s, kind1s and so on, without objects."""
        custom = partial(Collection, api_version=f"{GROUP}/{VERSION}")
        self.collections = {
            "nodes": Collection("Node", "v1", nodes, node),
            CUSTOM_PLURAL: custom("ModelNode", count=customs, make=model_node),
        } | {f"kind{index}s": custom(f"Kind{index}", count=0, make=model_node) for index in range(kinds)}
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def handle(self, connection: Protocol, request: Request) -> None:
        parts = request.path.strip("/").split("/")
        if parts[0] == "benchmark":
            collection = self.collections[request.query["plural"]]
            self.spawn(send_events(connection, collection, int(request.query["count"]), int(request.query["rate"])))
        elif parts[-1] in self.collections and request.method == "GET":
            self._read(connection, self.collections[parts[-1]], request.query)
        elif parts[-1] == "status" and request.method == "PATCH":
            index = int(parts[-2].rpartition("-")[2])
            connection.answer(self.collections[parts[-3]].patched(index))
        else:
            connection.answer(NOT_FOUND, "404 Not Found")

    def _read(self, connection: Protocol, collection: Collection, query: dict[str, str]) -> None:
        if query.get("watch", "").lower() == "true":
            initial, bookmarks = (query.get(name) == "true" for name in ("sendInitialEvents", "allowWatchBookmarks"))
            connection.watch(collection, initial=initial, bookmarks=bookmarks)
            return
        # At resource version 0 a server answers from its watch cache, which knows no pages.
        limit = 0 if query.get("resourceVersion") == "0" else int(query.get("limit") or 0)
        connection.answer(collection.page(limit, int(query.get("continue") or 0)))

    async def bookmarks(self) -> None:
        while True:
            await asyncio.sleep(BOOKMARK_PERIOD)
            for collection in self.collections.values():
                for watcher in tuple(collection.watchers):
                    if watcher.wants_bookmarks:
                        await watcher.write(collection.bookmark())


async def send_events(connection: Protocol, collection: Collection, count: int, rate: int) -> None:
    """Sends events to whoever watches, `rate` a second, or with 0 as fast as they are read; answers the seconds."""
    # All but the first, which carries the time of its sending, are encoded before: to do it costs as much as to send.
    first_version = collection.skip()
    batches = [] if rate else list(_batched(collection.next_event() for _ in range(count - 1)))
    deadline = time.monotonic() + WATCHER_TIMEOUT
    while not collection.watchers:
        if time.monotonic() > deadline:
            connection.answer(b'{"error":"nobody watches"}', "409 Conflict")
            return
        await asyncio.sleep(0.005)
    await asyncio.sleep(SETTLE)
    began = time.monotonic()
    if rate:
        await _pace(collection, count, rate)
    else:
        await _write(collection, collection.event_at(first_version))
        for batch in batches:
            await _write(collection, batch)
    connection.answer(msgspec.json.encode({"seconds": time.monotonic() - began}))


async def _pace(collection: Collection, count: int, rate: int) -> None:
    """Each event in a write of its own. The loop's clock has milliseconds: faster rates come in small bursts."""
    began = time.monotonic()
    for index in range(count):
        ahead = began + index / rate - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        await _write(collection, collection.next_event())


async def _write(collection: Collection, data: bytes) -> None:
    for watcher in tuple(collection.watchers):
        await watcher.write(data)


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[int]:
    """The port, on loopback."""
    listener = await asyncio.get_running_loop().create_server(lambda: Protocol(server), "127.0.0.1", 0)
    server.spawn(server.bookmarks())
    yield listener.sockets[0].getsockname()[1]
    listener.close()


async def run(arguments: argparse.Namespace) -> None:
    server = Server(arguments.nodes, arguments.customs, arguments.kinds)
    gc.freeze()
    gc.disable()
    async with serving(server) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("nodes", "customs", "kinds"):
        parser.add_argument(f"--{name}", type=int, default=0)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
