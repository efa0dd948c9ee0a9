"""One open connection to Redis: bytes out, each reply as it comes. No questions, no channels.

redis-py makes the connection (address, TLS, password, database, name); once it is ready, its
transport is taken over, since per reply redis-py's reading costs ten times what the reply does
(docs/adr/0015). Names of redis-py that are not public are used in this module only.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar, cast

import hiredis
from redis._parsers import BaseParser
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import InvalidResponse, RedisError

HIGH_WATER = 1 << 20
AGAIN_S = 0.05

Argument: TypeAlias = str | bytes | int | float

# Their own declarations are partly unknown, or wrong.
pack = cast("Callable[[tuple[Argument, ...]], bytes]", cast("Any", hiredis).pack_command)
_known_error = cast("Callable[[str], Exception]", cast("Any", BaseParser).parse_error)
_NOTHING = object()

_log = logging.getLogger(__name__)

T = TypeVar("T")


def _error(text: str) -> Exception:
    """The exception that an error reply stands for; redis-py cannot read a damaged one."""
    try:
        return _known_error(text)
    except (ValueError, IndexError):
        return InvalidResponse(text)


class Lost(LostConnection):
    """The connection is gone; whether what was sent was executed is not known."""


class Stream(asyncio.Protocol):
    """What is left of a connection once it is made.

    `heard` is called with every reply, an error reply as an exception of redis-py; what it raises
    ends the connection. `lost` is called once, with the reason, also after `abort`.
    """

    def __init__(
        self,
        writer: asyncio.StreamWriter,
        heard: Callable[[Any], None],
        lost: Callable[[Lost], None],
    ) -> None:
        # Kept: a StreamWriter that is dropped complains of a transport that is still open.
        self._writer = writer
        self._transport = writer.transport
        self._heard = heard
        self._lost = lost
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=_error,
            notEnoughData=_NOTHING,
        )
        self._why: Exception | None = None
        self._ended = False
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writable = True
        """Whether less than `HIGH_WATER` waits to be sent."""
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._transport.set_protocol(self)

    def write(self, data: bytes) -> None:
        """Sends, or ends the connection; never raises."""
        if self._ended:
            return
        try:
            self._transport.write(data)
        except (OSError, RuntimeError) as error:  # uvloop: RuntimeError for a closed handle
            self.abort(error)

    def abort(self, why: Exception) -> None:
        """Ends it; `lost` is called before this returns."""
        if not self._ended:
            self._ended = True
            self._transport.abort()
            self._lost(Lost(str(why) or type(why).__name__))

    async def closed(self) -> None:
        """After `abort`: until the socket is."""
        await asyncio.wait((self._gone,))

    # Called by the transport

    def data_received(self, data: bytes) -> None:
        reader, heard = self._reader, self._heard
        reader.feed(data)
        gets = reader.gets
        try:
            while (reply := gets()) is not _NOTHING:
                heard(reply)
        except RedisError as error:
            self.abort(error)
        except Exception as error:  # noqa: BLE001 - the top of a callback; what follows is lost
            _log.exception("a reply could not be taken; the connection is dropped")
            self.abort(error)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)
        self.abort(exc or Lost("the server closed the connection"))


async def ended_within(seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """Awaits a call that may swallow a cancellation, as redis-py's do on Python 3.11.

    It has ended when this returns or raises. Raises `TimeoutError`, and what the call raises.
    """
    task = asyncio.create_task(call)  # noqa: TID251 - joined below
    try:
        await asyncio.wait((task,), timeout=seconds)
    finally:
        await _end(task)
    if task.cancelled():
        raise TimeoutError(f"no answer within {seconds:g} s")
    return task.result()


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancels until it is over; a cancellation of our own waits for that."""
    cancelled = False
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait((task,), timeout=AGAIN_S)
        except asyncio.CancelledError:
            cancelled = True
    if not task.cancelled():
        task.exception()  # whoever is cancelled does not ask for it
    if cancelled:
        raise asyncio.CancelledError


async def open_stream(
    connection: Connection,
    heard: Callable[[Any], None],
    lost: Callable[[Lost], None],
    *,
    within_s: float,
) -> Stream:
    """Connects and takes the transport over. Raises `RedisError`, `OSError`, `TimeoutError`.

    Cancelled or failed, it leaves no connection.
    """
    made = cast("Any", connection)
    try:
        await ended_within(within_s, made.connect())
        whole = not await made.can_read()
    except BaseException:
        await made.disconnect(nowait=True)
        raise
    writer: asyncio.StreamWriter = made._writer  # noqa: SLF001 - see above
    # It is not redis-py's any more, which would close it.
    made._reader = made._writer = None  # noqa: SLF001 - see above
    if writer.transport.is_closing() or not whole:
        writer.transport.abort()
        raise Lost("the server closed the connection, or says what nobody asked for")
    return Stream(writer, heard, lost)
