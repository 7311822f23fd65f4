"""Serves a world on loopback until a signal comes: sockets, signals and the command of the server's process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import click
from aiohttp import web

from s2async.errors import LocalError, S2AsyncError
from s2async.sandbox.server.files import Files
from s2async.sandbox.server.server import Server
from s2async.sandbox.server.stac import Catalog

WORLD_FORMAT: Final = 1
"""Of a world's folder; `world.wish.FORMAT` is the same."""
_STDIN: Final = 0


def read_items(folder: Path, origin: str) -> Iterator[str]:
    """The items of a world as JSON text, with the server's origin in their hrefs.

    Raises:
        LocalError: There is no such world, or one of another format.
    """
    try:
        world = json.loads((folder / "world.json").read_text())
        if world["format"] != WORLD_FORMAT:
            raise LocalError(
                f"the world in {folder} has format {world['format']}, not {WORLD_FORMAT}: make it anew"
            )
        with (folder / "items.jsonl").open(encoding="utf-8") as lines:
            yield from (line.strip().replace("{origin}", origin) for line in lines if line.strip())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LocalError(f"no sandbox world in {folder}: {error}") from error


def announce(origin: str, forbidden: str = "") -> None:
    """Print the line that ``process.start`` waits for."""
    line = {"origin": origin, "api": f"{origin}/v1", "forbidden": forbidden, "pid": os.getpid()}
    print(json.dumps(line), flush=True)


def serve(
    folder: Path,
    *,
    port: int = 0,
    delay: float = 0,
    bandwidth: float | None = None,
    per_client: bool = False,
    host: str = "127.0.0.1",
    ready: Callable[[str], None] = announce,
    tied: bool = False,
    forbidden: bool = False,
) -> None:
    """Serve a world until SIGTERM or SIGINT.

    Args:
        folder: The world's folder.
        port: 0 for any free one.
        delay: Milliseconds of round trip, added to every request.
        bandwidth: Mbit/s over all connections; None for no limit.
        per_client: Each client address has the bandwidth for itself.
        host: Where to listen.
        ready: Called with the origin, such as ``http://127.0.0.1:8080``, when the first request may come.
        tied: End also when standard input, if it is a pipe, closes: with the parent, however that ended.
        forbidden: Also listen at a second origin, to which nobody should send requests; ``announce`` tells it.

    Raises:
        LocalError: There is no world in the folder, or the port cannot be had.
    """
    with (
        _bound(host, port) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trap,
    ):
        origin = f"http://{host}:{listener.getsockname()[1]}"
        server = Server(
            Catalog(read_items(folder, origin), f"{origin}/v1"),
            Files(folder),
            delay=delay,
            bandwidth=bandwidth,
            per_client=per_client,
        )
        told = partial(ready, origin)
        if forbidden:
            trap.bind((host, 0))
            told = partial(announce, origin, f"http://{host}:{trap.getsockname()[1]}")
        asyncio.run(_run(server, listener, told, tied=tied, trap=trap if forbidden else None))


def check_port(port: int, host: str = "127.0.0.1") -> None:
    """Find out whether a port can be had, before anything is made that would be served there.

    Raises:
        LocalError: It cannot.
    """
    _bound(host, port).close()


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere it would let two servers share a port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise LocalError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    return listener


async def _run(
    server: Server,
    listener: socket.socket,
    ready: Callable[[], None],
    *,
    tied: bool,
    trap: socket.socket | None,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    # Windows has no handlers on the loop, but takes these.
    former = {
        number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    if tied and stat.S_ISFIFO(os.fstat(_STDIN).st_mode):
        threading.Thread(target=_await_end_of_input, args=(loop, stop), daemon=True).start()
    runner = web.ServerRunner(
        web.Server(server.handle, handler_cancellation=True, access_log=None), shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=1024).start()
        if trap:
            await _set(trap, server)
        ready()
        await stop.wait()
    finally:
        await runner.cleanup()
        for number, handler in former.items():
            signal.signal(number, handler)


async def _set(trap: socket.socket, server: Server) -> None:
    """Listen at the forbidden origin: who only connects, or does not speak HTTP, is noted as well."""
    answering = web.Server(server.refuse, handler_cancellation=True, access_log=None)

    def connected() -> asyncio.Protocol:
        server.intrusions += 1
        return answering()

    await asyncio.get_running_loop().create_server(connected, sock=trap)


def _await_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(_STDIN, 1024):
        pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="The world to serve.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 for any free one.")
@click.option("--delay", type=click.FloatRange(min=0), default=0.0, help="Round trip in milliseconds.")
@click.option("--bandwidth", type=click.FloatRange(min=0, min_open=True), help="Mbit/s over all connections.")
@click.option("--per-client", is_flag=True, help="Each client address has the bandwidth for itself.")
@click.option(
    "--forbidden", is_flag=True, help="Also listen at a second port, to which nobody should send requests."
)
def main(
    folder: Path, port: int, delay: float, bandwidth: float | None, per_client: bool, forbidden: bool
) -> None:
    """Serve a generated world on 127.0.0.1 until a signal comes or standard input, if a pipe, closes."""
    try:
        serve(
            folder,
            port=port,
            delay=delay,
            bandwidth=bandwidth,
            per_client=per_client,
            tied=True,
            forbidden=forbidden,
        )
    except S2AsyncError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
