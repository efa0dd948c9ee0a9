"""python-socketio with its Redis manager, under uvicorn.

    socketio_python.py serve REDIS PORT            a client joins the rooms of its query string
    socketio_python.py publish REDIS ROOM TEXT     one event, as a user's program emits it

Runs in the peers' own environment; nothing of this repository may be imported here.
"""
# The peers' packages are not in the environment that checks this file.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import asyncio
import sys
from typing import Any
from urllib.parse import parse_qs

import socketio
import uvicorn


def serve(redis: str, port: int) -> None:
    """WebSocket only (no polling), no compression, uvloop, no access log."""
    server = socketio.AsyncServer(
        async_mode="asgi",
        client_manager=socketio.AsyncRedisManager(redis),
        transports=["websocket"],
    )

    @server.event
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        for room in parse_qs(environ["QUERY_STRING"])["rooms"][0].split(","):
            await server.enter_room(sid, room)

    uvicorn.run(
        socketio.ASGIApp(server),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
    )


async def publish(redis: str, room: str, text: str) -> None:
    """The documented way for another process."""
    await socketio.AsyncRedisManager(redis, write_only=True).emit("e", text, room=room)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", url, port]:
            serve(url, int(port))
        case ["publish", url, room, text]:
            asyncio.run(publish(url, room, text))
        case _:
            sys.exit(__doc__)
