"""A TCP proxy between the trainers and the API, whose line goes dead for a while without anybody being told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

PIECE = 64 * 1024


class Line:
    """Listens on a free port of 127.0.0.1 from `open` to `close`, and forwards to `target()`'s port."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._target: Callable[[], int] | None = None
        self._server: asyncio.Server | None = None
        self._alive = asyncio.Event()

    def open(self, target: Callable[[], int]) -> int:
        """Returns the port to connect to."""
        self._target = target
        self._thread.start()
        self._alive.set()
        return asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def pause(self) -> None:
        """From now on nothing passes, in either direction, on old connections and new ones; none is closed."""
        self._loop.call_soon_threadsafe(self._alive.clear)

    def resume(self) -> None:
        self._loop.call_soon_threadsafe(self._alive.set)

    def close(self) -> None:
        async def end() -> None:
            assert self._server is not None
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._alive.wait()
        assert self._target is not None
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target())
        except OSError:  # the API is down: so is the connection
            writer.close()
            return
        try:
            await asyncio.gather(self._forward(reader, back), self._forward(there, writer))
        finally:
            for end in (writer, back):
                end.close()

    async def _forward(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(PIECE):
                await self._alive.wait()
                to.write(piece)
                await to.drain()
        with contextlib.suppress(OSError):
            to.close()
