"""Serves a world on loopback until a signal arrives: sockets, signals and the command of the server's process."""

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
"""Format of a world's folder; `world.wish.FORMAT` is the same."""
_STDIN: Final = 0


def read_items(folder: Path, origin: str) -> Iterator[str]:
    """Yield the items of a world as JSON text, with the server's origin in their hrefs.

    Raises:
        LocalError: there is no world, or its format is different.
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
        folder: folder of the world.
        port: port of the server; 0 for any free port.
        delay: round-trip time in milliseconds, added to every request.
        bandwidth: Mbit/s over all connections; None for no limit.
        per_client: apply the bandwidth to each client address separately.
        host: address to listen on.
        ready: called with the origin, such as ``http://127.0.0.1:8080``, when requests are accepted.
        tied: also end when standard input, if it is a pipe, closes: with the parent process, however that ended.
        forbidden: also listen on a second origin, which should receive no requests; ``announce`` reports it.

    Raises:
        LocalError: there is no world in the folder, or the port is not available.
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
    """Check whether a port is available, before anything is generated that would be served there.

    Raises:
        LocalError: the port is not available.
    """
    _bound(host, port).close()


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere, this would let two servers share a port
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
    # Windows has no signal handlers on the loop, but accepts these.
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
    """Listen on the forbidden origin; clients that only connect, or do not use HTTP, are logged as well."""
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
    """Serve a generated world on 127.0.0.1 until a signal arrives or standard input, if it is a pipe, closes."""
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
