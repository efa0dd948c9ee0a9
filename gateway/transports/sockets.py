"""One WebSocket on uvicorn, hardened: it cannot be kept open, or filled, by a peer's misbehaviour.

A subclass of uvicorn's sans-I/O protocol that relies on private names of it; a contract test holds
them (`tests/transports/test_sockets.py`). What is mended, by what was measured:

- a peer that never reads was never freed: every close is followed by an abort;
- frames, fragments and pings were unmetered: token buckets, in slices of 4 KiB;
- a refused handshake was not answered: it is now.

And two short cuts, since most of a gateway's time goes into sockets: a message down is one `write`
to the transport, and its frame is made once for all who get the same message one after another; a
message up that is one whole text frame is unmasked here and handed over at once, without the
parser, a queue or a task. Whatever is not such a frame takes the parser's way. No frame of our own
protocol is looked at here.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from gateway.delivery.peer import Heard
from gateway.limits import TokenBucket
from gateway.transports.framing import (
    MASKED,
    SMALL_HEAD,
    WHOLE_TEXT,
    Framed,
    frame_end,
    small_text,
    unmasked,
)
from gateway.transports.inbox import Inbox

SLICE_BYTES = 4096
MAX_FRAGMENTS = 64
LATE_FRAMES = 256
"""After our close so many more are read, in search of the answer to it."""
FRAMES_PER_S, FRAMES_BURST = 1_000.0, 2_000.0
WRITE_HIGH_BYTES, WRITE_LOW_BYTES = 256 * 1024, 64 * 1024
PING_BACKLOG_BYTES = 64 * 1024
LINGER_S = 2.0
STOOD_STILL_S = 1.0
"""A timer that is so late says that the process was stopped, or its loop blocked."""
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class SocketPeer:
    """The `delivery.peer.Peer` that transports find in `scope["extensions"]["gateway"]`."""

    __slots__ = ("_framed", "_socket", "_write", "writable")

    def __init__(self, ws: "GatewayWS", framed: Framed) -> None:
        self._socket = ws
        self._framed = framed
        self._write: Callable[[bytes], None] = ws.transport.write
        self.writable = True  # less than the high-water mark waits to be sent

    def write(self, message: bytes) -> None:
        """Sends one text message now; nothing if the socket is closing."""
        framed = self._framed
        try:
            if message is framed.message:
                self._write(framed.frame)
            else:
                self._write(framed.make(message))
        except RuntimeError:  # the transport is lost, which was not yet told
            self.end()

    def end(self) -> None:
        """Nothing is written any more."""
        self.writable = False
        self._write = _to_nobody

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Called whenever the socket has drained below the low-water mark."""
        self._socket.resumed = callback

    async def receive(self) -> str | bytes | None:
        """The next message; None at the end."""
        message = cast("dict[str, Any]", await self._socket.receive())
        return content_of(message)

    def listen(self, heard: Heard) -> None:
        """Messages go to `heard` as they come, from now on; `receive` waits for the end."""
        self._socket.listen(heard)

    def close(self, code: int, reason: str) -> None:
        """Closes; cut off after 2 s whatever the peer does."""
        self._socket.close_with(code, reason)


def _to_nobody(_frame: bytes) -> None:
    """The socket is closing."""


def content_of(message: Any) -> str | bytes | None:
    """What an ASGI message carries. `receive_text` fails on a binary one."""
    if message["type"] != "websocket.receive":
        return None
    text = message.get("text")
    return message.get("bytes") if text is None else text


class GatewayWS(WebSocketsSansIOProtocol):
    """One WebSocket that cannot be kept open by a peer who does not read."""

    frames_per_s = FRAMES_PER_S
    frames_burst = FRAMES_BURST
    framed: Framed
    """Shared by the sockets of a server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inbox = Inbox()
        self.queue = cast("Any", self._inbox)
        self.resumed: Callable[[], None] = _nothing
        self._peer: SocketPeer | None = None
        self._heard: Heard | None = None
        self._metered = TokenBucket(self.frames_per_s, self.frames_burst, self.loop.time)
        self._fragments = 0
        self._late = 0
        self._abort_timer: asyncio.TimerHandle | None = None
        # Frames are taken apart here while the parser stands between two of them.
        self._whole = True
        self._rest = bytearray()  # the beginning of a frame
        self._wanted = 0  # how long `_rest` must be before it is looked at again

    @property
    def open(self) -> bool:
        """Whether messages may be sent."""
        return self.handshake_complete and not (
            self.close_sent or self.disconnected or self.transport.is_closing()
        )

    def close_with(self, code: int, reason: str) -> None:
        """Sends a close frame if it can and cuts the peer off after 2 s."""
        if self.open:
            self.stop_keepalive()
            with suppress(InvalidState):
                self.conn.send_close(code, reason)
                self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            disconnect: Any = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self.queue.put_nowait(disconnect)
            self._read_on()  # or the peer's answer is never read
            # its presence tells the base class to wait for the peer's answer
            self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)
        self._abort_later()

    def _abort_later(self) -> None:
        if self._peer is not None:
            self._peer.end()
        if self._abort_timer is None:
            self._abort_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def _read_on(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def listen(self, heard: Heard) -> None:
        """See `SocketPeer.listen`."""
        inbox = self._inbox
        while not inbox.empty():
            message = inbox.take()
            content = content_of(message)
            if content is None:
                inbox.put_back(message)
                return
            heard(content)
        self._heard = heard
        self._read_on()
        # the handshake is over: its headers are in the scope, too
        self.request = self.response = cast("Any", None)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent:
            # uvicorn takes a refusal with a body for a handshake that was forgotten: an error
            self.handshake_complete = True

    # --- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH_BYTES, WRITE_LOW_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._peer is not None:
            self._peer.end()
        if self._abort_timer is not None:
            self._abort_timer.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._peer is not None:
            self._peer.writable = False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._peer is not None and self.open:
            self._peer.writable = True
        self.resumed()

    def data_received(self, data: bytes) -> None:
        if (
            self._heard is not None
            and small_text(data)
            and self._whole
            and not self._rest
            and self.conn.current_size is None
            and not self.close_sent
            and len(data) - SMALL_HEAD <= self.config.ws_max_size
        ):  # an ack, usually
            if self._metered.take():
                self._give_text(unmasked(data, SMALL_HEAD, len(data)))
            else:
                self.close_with(4479, "rate limited")
            return
        if self._whole and self.handshake_complete and not self.close_sent:
            if self._rest:
                self._rest += data
                if len(self._rest) < self._wanted:
                    return
                data = bytes(self._rest)
                self._rest.clear()
            self._take_apart(data)
            return
        if self.handshake_initiated:
            self._whole = False  # a frame that came before its time is the parser's
        if self._rest:
            data = bytes(self._rest) + data
            self._rest.clear()
        self._parse(data)

    def _take_apart(self, data: bytes) -> None:
        """Gives whole text frames to who listens, and other whole frames to the parser."""
        at, size, most = 0, len(data), self.config.ws_max_size
        while at < size:
            begin, end = frame_end(data, at)
            if begin and (end - begin > most or data[at + 1] < MASKED):
                self._leave_to_parser(data[at:])
                return
            if end > size:
                self._rest += data[at:]
                self._wanted = end - at
                return
            if data[at] == WHOLE_TEXT and self.conn.current_size is None:
                if self._metered.take():
                    self._give_text(unmasked(data, begin, end))
                else:
                    self.close_with(4479, "rate limited")
            else:
                self._parse(data[at:end])
            at = end
            if self.close_sent:
                self._leave_to_parser(data[at:])
                return

    def _leave_to_parser(self, data: bytes) -> None:
        self._whole = False
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        for at in range(0, len(data), SLICE_BYTES):
            if self.transport.is_closing() or self._late > LATE_FRAMES:
                return
            super().data_received(data[at : at + SLICE_BYTES])
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake()

    def _refuse_handshake(self) -> None:
        """What the parser refused before there was an application: answer, then close."""
        answer = b"".join(self.conn.data_to_send())
        self.transport.write(answer or BAD_REQUEST)
        self.transport.close()
        self._abort_later()

    def shutdown(self) -> None:
        if self.open:
            self.close_with(1012, "restart")
        else:
            super().shutdown()
            self._abort_later()

    # --- frames

    def handle_events(self) -> None:
        for event in self.conn.events_received():
            if isinstance(event, Request):
                self.handle_connect(event)
            elif self.close_sent:
                self._handle_late(cast("Frame", event))
            elif not self._metered.take():
                self.close_with(4479, "rate limited")
            elif isinstance(event, Frame):
                self._handle_frame(event)

    def _handle_late(self, frame: Frame) -> None:
        """The close was sent: only its answer is of interest, and not for ever."""
        if frame.opcode is Opcode.CLOSE:
            self.handle_close(frame)
            self._abort_later()
            return
        self.conn.data_to_send()  # pongs that nobody gets
        self._late += 1
        if self._late > LATE_FRAMES:
            self.transport.pause_reading()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            # the application's task was made, but has not begun
            extensions = cast("dict[str, Any]", self.scope.get("extensions"))
            extensions["gateway"] = self._peer = SocketPeer(self, self.framed)
        else:
            self._abort_later()

    def _handle_frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.CONT:
                self._fragments += 1
                if self._fragments > MAX_FRAGMENTS:
                    self.close_with(1009, "too many fragments")
                    return
                self.handle_cont(frame)
            case Opcode.TEXT:
                self._fragments = 1
                self.handle_text(frame)
            case Opcode.BINARY:
                self._fragments = 1
                self.handle_bytes(frame)
            case Opcode.PING:
                if self.transport.get_write_buffer_size() > PING_BACKLOG_BYTES:
                    self.conn.data_to_send()  # a pong for one who does not read now
                else:
                    self.handle_ping()
            case Opcode.PONG:
                self.handle_pong(frame)
            case Opcode.CLOSE:
                self.handle_close(frame)
                self._abort_later()

    def send_receive_event_to_app(self) -> None:
        if self.close_sent:
            super().send_receive_event_to_app()
            return
        data = b"".join(self.frames)
        self.frames = []
        if self.curr_msg_data_type == "text":
            self._give_text(data)
        else:
            self._give(data)

    def _give_text(self, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            # as the base class, but without a traceback in the log for each bad message
            self.close_with(1007, "invalid UTF-8")
            return
        self._give(text)

    def _give(self, content: str | bytes) -> None:
        """To who listens; else to who receives, who reads the next when this one was taken."""
        if self._heard is not None:
            self._heard(content)
            return
        kind = "text" if isinstance(content, str) else "bytes"
        self.queue.put_nowait(cast("Any", {"type": "websocket.receive", kind: content}))
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._abort_later()

    def keepalive_timeout(self) -> None:
        wait_s = self.ping_timeout or 0.0
        if self.loop.time() - self.ping_sent_at > wait_s + STOOD_STILL_S:
            # we were away, not the peer: its pong may wait to be read
            self.ping_sent_at = self.loop.time()
            self.pong_timer = self.loop.call_later(wait_s, self.keepalive_timeout)
            return
        self.pong_timer = None
        self.pending_ping_payload = None
        self.close_with(4457, "no pong")


def _nothing() -> None:
    """Nobody waits for the socket to drain."""
