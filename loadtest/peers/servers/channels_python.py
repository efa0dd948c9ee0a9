"""Django channels with its Redis pub/sub layer, under uvicorn.

    channels_python.py serve REDIS PORT            a client joins the groups of its query string
    channels_python.py publish REDIS ROOM TEXT     one event, as a user's program sends it

Runs in the peers' own environment; nothing of this repository may be imported here.
"""
# The peers' packages are not in the environment that checks this file.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import asyncio
import sys
from typing import Any
from urllib.parse import parse_qs

import django
import uvicorn
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from django.conf import settings


class Receiver(AsyncWebsocketConsumer):
    """Joins its groups and forwards what they get."""

    async def connect(self) -> None:
        query = parse_qs(self.scope["query_string"].decode())
        for room in query["rooms"][0].split(","):
            await self.channel_layer.group_add(room, self.channel_name)
        await self.accept()

    async def event(self, message: dict[str, Any]) -> None:
        await self.send(text_data=message["text"])


def configure(redis: str) -> None:
    """The layer for pub/sub: the one that the package recommends for fan-out."""
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}
    settings.configure(
        CHANNEL_LAYERS={"default": {**layer, "CONFIG": {"hosts": [redis]}}}, DEBUG=False
    )
    django.setup()


def serve(port: int) -> None:
    """No compression, uvloop, no access log."""
    uvicorn.run(
        Receiver.as_asgi(),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
    )


async def publish(room: str, text: str) -> None:
    """The documented way for another process."""
    layer = get_channel_layer()
    assert layer is not None, "configured"
    await layer.group_send(room, {"type": "event", "text": text})


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", url, port]:
            configure(url)
            serve(int(port))
        case ["publish", url, room, text]:
            configure(url)
            asyncio.run(publish(room, text))
        case _:
            sys.exit(__doc__)
