"""The asyncio client: one WebSocket, many sessions. All the I/O there is begins here.

It feeds sockets and timers into a `Connection` and does what that answers. Effects are done in
order, one after the other, also when one of them leads to another input meanwhile.
"""

import asyncio
import os
import random as chance
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, overload

from msgspec import Struct

from gateway.client import steps
from gateway.client.agent import AsyncAgent, configured
from gateway.client.bodies import read_answer
from gateway.client.connection import Connection
from gateway.client.door import Door, shown
from gateway.client.errors import GatewayError, usage
from gateway.client.ids import MakeId, make_id
from gateway.client.listeners import Listeners
from gateway.client.run import AsyncRun, Update, task_of
from gateway.client.session import Session
from gateway.client.socket import Socket, Token, fresh, socket_url
from gateway.client.subscription import Wishes
from gateway.client.tasks import Tasks
from gateway.client.tool import ClientTool
from gateway.client.tools import ToolRunner
from protocol import codec
from protocol import commands as cmd
from protocol.errors import ProtocolError
from protocol.frames import Ok, SessionRow, Welcome
from protocol.values import Detail

MAX_PENDING = 1024
URL_VARIABLE = "AGENT_GATEWAY_URL"
OPEN_SECONDS = 10.0


class Behaviour(Struct, frozen=True):
    """What a client takes from its surroundings; tests and simulations bring their own.

    `clock` gives seconds that never go back, `random` numbers in [0, 1).
    """

    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = chance.random
    make_id: MakeId = make_id


class AsyncClient:
    """A client of the gateway at `url` (`http://host:port`; default: `AGENT_GATEWAY_URL`).

        async with AsyncClient("http://127.0.0.1:8000") as client:
            session = await client.session(agent="echo")
            sent = await session.send("Hello")
            await session.finished(sent)
            print(session.text(sent.run))

    `url` may be the path where a gateway is mounted (`https://host/agents`): `/v1/ws` is added.
    `token` (or `api_key`) may be a callback that gives a fresh one: it is asked at every connect
    and when the token is about to end. Without `async with` it connects when it is first used, and
    `close` is yours to call. The client reconnects by itself, and goes on where it was, until it is
    closed or the gateway refuses it for good. Not thread-safe: see `Client` for use without
    asyncio. At most 1024 commands wait for their answers; the next one waits before it is sent.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: Token | None = None,
        api_key: Token | None = None,
        app: cmd.App | None = None,
        behaviour: Behaviour | None = None,
    ) -> None:
        behaviour = behaviour or Behaviour()
        token = api_key if token is None else token
        self.make_id = behaviour.make_id
        self.id = self.make_id("py")  # names this client across reconnects
        self.welcome: Welcome | None = None
        self.sessions: dict[str, Session] = {}  # those that are listened to, by id
        self._url = socket_url(_address(url))
        self._token = token
        self._clock = behaviour.clock
        self._machine = Connection(
            self.id,
            app=app,
            renewable=callable(token),
            random=behaviour.random,
            make_id=self.make_id,
        )
        self.tasks = Tasks()
        self.tools = ToolRunner(self.id, issue=self.command, make_id=self.make_id, tasks=self.tasks)
        self._opening = weakref.WeakValueDictionary[str, asyncio.Lock]()  # by session id
        self._sockets: dict[int, tuple[Socket, asyncio.Task[Any]]] = {}
        self._answers: dict[str, asyncio.Future[Ok]] = {}
        self._slots = asyncio.Semaphore(MAX_PENDING)
        self._effects: deque[steps.Effect] = deque()
        self._draining = False
        self._used = False  # whether anybody connected it
        self._timer: asyncio.TimerHandle | None = None
        self._reported = steps.StatusChanged("closed", None, 0, "")
        self._changed = asyncio.Event()
        self._door = Door()
        self._on_status = Listeners[steps.StatusChanged]()
        self._on_problem = Listeners[GatewayError]()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- the connection

    async def connect(self, timeout: float = OPEN_SECONDS) -> None:
        """Connect and wait for the welcome; without effect when connected.

        Raises:
            GatewayError: `client.unreachable` after so many seconds; at once when the gateway
                refused for good (`auth.required`, `auth.forbidden`, …) or when something else is
                at that address (`client.no_gateway`). The client is closed then, and when this is
                cancelled.
        """
        self._used = True
        if self.status == "closed":
            self._door.forget()
        self._step(steps.Start())
        try:
            async with asyncio.timeout(timeout):
                while self.status not in ("open", "closed"):
                    await self._changed.wait()
        except TimeoutError:
            reason, delay = self._reported.reason or "no answer", self._door.delay
            await self.close()
            text = f"No gateway at {shown(self._url)} within {timeout:g} s: {reason}"
            raise delay or GatewayError("client.unreachable", text, retryable=True) from None
        except BaseException:
            await self.close()
            raise
        if self.status == "closed":
            await self._hang_up()
            raise self._why_closed()

    async def close(self) -> None:
        """Hang up; runs go on. Commands without an answer are refused with `client.closed`.

        Sessions that were open end; a cancelled tool handler has its clean-up awaited.
        """
        self._door.forget()
        await self._hang_up()

    async def _hang_up(self) -> None:
        for session in list(self.sessions.values()):
            session.close()
        self._step(steps.Stop())
        if self._timer is not None:
            self._timer.cancel()
        await self.tasks.close()

    @property
    def status(self) -> steps.Status:
        """`connecting`, `open`, `resuming`, `offline` or `closed`."""
        return self._reported.status

    def on_status(self, listener: Callable[[steps.StatusChanged], None]) -> None:
        """Hear of every change of the status; called in the loop, must not block."""
        self._on_status.add(listener)

    def on_problem(self, listener: Callable[[GatewayError], None]) -> None:
        """Hear of errors that answer no command."""
        self._on_problem.add(listener)

    def retry(self) -> None:
        """Try now instead of when the backoff ends; when connected, see if that is still so."""
        self._step(steps.Hint())

    def _why_closed(self) -> GatewayError:
        """Why nothing can be done until `connect` is called: what the gateway said, if it did."""
        closed = GatewayError("client.closed", "The client is closed: connect first.")
        return self._door.why() or closed

    # --- sessions and commands

    async def session(
        self,
        session: str | None = None,
        *,
        agent: str | None = None,
        tools: Sequence[ClientTool] = (),
        metadata: dict[str, Any] | None = None,
        detail: Detail | None = None,
        messages: int = 100,
    ) -> Session:
        """Listen to a session, and create it first if `agent` is given; returns when it is open.

        One's own session of that id and agent is taken up. `tools` are executed here. `messages`
        is how many of the newest the state holds. A session that is open already is given back
        as it is.

        Raises:
            GatewayError: it was refused (`agent.not_found`, `session.not_found`, …).
        """
        if session is None and agent is None:
            usage("Give the id of a session that exists, or an agent to create one.")
        name = session or self.make_id("s")
        async with self._opening.setdefault(name, asyncio.Lock()):
            if (known := self.sessions.get(name)) is not None:
                return known
            if self.status == "closed":
                if self._used:
                    raise self._why_closed()
                await self.connect()
            handle = Session(name, self)
            self.sessions[name] = handle
            self.tools.declare(name, list(tools))
            wishes = Wishes(detail, tuple(tool.name for tool in tools), messages)
            try:
                await self._begin(handle, agent, tools, metadata, wishes)
            except BaseException:
                handle.close()
                raise
            return handle

    async def _begin(
        self,
        handle: Session,
        agent: str | None,
        tools: Sequence[ClientTool],
        metadata: dict[str, Any] | None,
        wishes: Wishes,
    ) -> None:
        """Create, if so wished, and subscribe, in one message; then make the tools known."""
        if agent is None:
            self._step(steps.Subscribe(handle.id, wishes))
        else:
            create = cmd.SessionCreate(
                id=self.make_id("k"),
                agent=agent,
                session=handle.id,
                metadata=metadata,
                tools=[tool.spec for tool in tools] or None,
            )
            created = self._issue(create)
            self._step(steps.Subscribe(handle.id, wishes, create.id))
            await created
        state = await handle.wait_until(lambda _: True)
        ours = {tool.name: tool.spec for tool in tools}
        theirs = {tool.name: tool for tool in state.tools}
        if any(theirs.get(name) != spec for name, spec in ours.items()):
            await handle.update(tools=list({**theirs, **ours}.values()))

    def agent(self, config: str | Mapping[str, Any]) -> AsyncAgent:
        """A conversation with an agent: its name, or `{"agent": …, "tools": […], …}`.

        Opens a session of its own at the first message.
        """
        return AsyncAgent(self, configured(config))

    @overload
    def run(
        self,
        task: str | Mapping[str, Any],
        *,
        stream: Literal[False] = False,
        timeout: float | None = None,
    ) -> Awaitable[Update]: ...

    @overload
    def run(self, task: str | Mapping[str, Any], *, stream: Literal[True]) -> AsyncRun: ...

    def run(
        self,
        task: str | Mapping[str, Any],
        *,
        stream: bool = False,
        timeout: float | None = None,
    ) -> Awaitable[Update] | AsyncRun:
        """Run an agent without a conversation: `{"app": …, "input": …}`.

        Await the last update, or with `stream` iterate over all of them. See `AsyncRun`.
        """
        run = AsyncRun(self, task_of(task))
        return run if stream else run.outcome(timeout)

    async def list_sessions(
        self, *, limit: int = 50, before: str | None = None
    ) -> list[SessionRow]:
        """One's own sessions, the newest first, before the session `before`."""
        frame = cmd.SessionList(id=self.make_id("k"), limit=limit, before=before)
        return (await self.command(frame)).sessions or []

    async def command(self, frame: cmd.Command | cmd.SessionList | cmd.AuthRefresh) -> Ok:
        """Send a command until it is answered, over reconnects.

        Cancelling gives up the answer, not the command.

        Raises:
            GatewayError: it was refused.
        """
        async with self._slots:
            return await self._issue(frame)

    def _issue(
        self, frame: cmd.Command | cmd.SessionList | cmd.AuthRefresh
    ) -> "asyncio.Future[Ok]":
        answer: asyncio.Future[Ok] = asyncio.get_running_loop().create_future()
        self._answers[frame.id] = answer
        try:
            self._step(steps.Issue(frame))
        except BaseException:
            del self._answers[frame.id]  # it holds what is no JSON: the caller is told
            raise
        return answer

    def leave(self, session: str) -> None:
        """For sessions alone: listen to it no more."""
        self.sessions.pop(session, None)
        self._step(steps.Unsubscribe(session))

    # --- the machine's hands

    def _step(self, taken: steps.Input) -> None:
        self._effects += self._machine.step(taken, self._clock() * 1000)
        self._arm()
        if self._draining:
            return
        self._draining = True
        try:
            while self._effects:
                effect = self._effects.popleft()
                self._do[type(effect)](self, effect)
        finally:
            self._draining = False

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = self._machine.deadline / 1000 - self._clock()
        if wait < float("inf"):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, wait), self._step, steps.Tick())

    def _connect(self, effect: steps.Connect) -> None:
        first = self.welcome is None
        socket = Socket(effect.socket, self._url, self._token, self._tell, first=first)
        self._sockets[effect.socket] = (socket, self.tasks.start(socket.run()))

    def _tell(self, taken: steps.Opened | steps.Text | steps.Closed) -> None:
        """What a socket says; one that was given up says nothing any more."""
        if taken.socket not in self._sockets:
            return
        if isinstance(taken, steps.Opened):
            self._door.opened(taken.token)
        elif isinstance(taken, steps.Closed):
            socket, _ = self._sockets.pop(taken.socket)
            self._door.lost(taken.code, taken.reason, socket.refusal)
        self._step(taken)

    def _send(self, effect: steps.Send) -> None:
        if (known := self._sockets.get(effect.socket)) is not None:
            known[0].write(effect.text)

    def _close(self, effect: steps.Close) -> None:
        if (known := self._sockets.pop(effect.socket, None)) is not None:
            known[1].cancel()

    def _refresh(self, _: steps.Refresh) -> None:
        if callable(self._token):
            self.tasks.start(self._renew_token())

    async def _renew_token(self) -> None:
        try:
            token = await fresh(self._token)
            await self.command(cmd.AuthRefresh(id=self.make_id("k"), token=token or ""))
        except Exception as error:  # noqa: BLE001 - the application's callback may raise anything
            self._on_problem.tell(
                GatewayError("auth.expired", f"The token was not renewed: {error}")
            )

    def _take_welcome(self, effect: steps.Welcomed) -> None:
        try:
            welcome = codec.decode_down(effect.frame)
        except ProtocolError:
            return  # a newer gateway's: what matters of it the machine has read
        if isinstance(welcome, Welcome):
            self.welcome = welcome

    def _take_status(self, effect: steps.StatusChanged) -> None:
        self._reported = effect
        self._changed.set()
        self._changed = asyncio.Event()
        if effect.status == "closed":
            for session in list(self.sessions.values()):
                session.end(self._why_closed())
                self.leave(session.id)
        self._on_status.tell(effect)

    def _answer(self, effect: steps.Answered) -> None:
        answer = self._answers.pop(effect.id, None)
        if answer is None or answer.done():
            return
        frame = read_answer(effect.frame)
        if not isinstance(frame, GatewayError):
            answer.set_result(frame)
        elif frame.code == "client.closed":  # the machine's word: the door knows more
            answer.set_exception(self._door.why() or frame)
        else:
            answer.set_exception(frame)

    def _take_event(self, effect: steps.Received) -> None:
        if (session := self.sessions.get(effect.session)) is not None:
            session.apply(effect.frame, effect.seq)
            if session.closed:
                self.sessions.pop(effect.session, None)

    def _reset(self, effect: steps.Reset) -> None:
        if (session := self.sessions.get(effect.session)) is not None:
            session.reset(bytes(effect.state), effect.detail)

    def _refuse(self, effect: steps.Refused) -> None:
        if (session := self.sessions.pop(effect.session, None)) is not None:
            error = read_answer(effect.frame)
            session.end(error if isinstance(error, GatewayError) else None)

    def _take_problem(self, effect: steps.Problem) -> None:
        error = read_answer(effect.frame)
        if isinstance(error, GatewayError):
            self._door.heard(error)
            self._on_problem.tell(error)

    def _go_on(self, _: steps.Recovered) -> None:
        """The events that follow say it all."""

    _do: ClassVar[dict[type, Callable[["AsyncClient", Any], None]]] = {
        steps.Connect: _connect,
        steps.Send: _send,
        steps.Close: _close,
        steps.Refresh: _refresh,
        steps.Welcomed: _take_welcome,
        steps.StatusChanged: _take_status,
        steps.Answered: _answer,
        steps.Received: _take_event,
        steps.Reset: _reset,
        steps.Recovered: _go_on,
        steps.Refused: _refuse,
        steps.Problem: _take_problem,
    }


def _address(url: str | None) -> str:
    """Where the gateway is.

    Raises:
        GatewayError: `client.usage`.
    """
    found = url or os.environ.get(URL_VARIABLE)
    if not found:
        usage(f"Where is the gateway? Give its URL, or set {URL_VARIABLE}.")
    return found


class AsyncInference(AsyncClient):
    """`AsyncClient` by the name that programs for inference.sh import: `AsyncInference(api_key=…)`.

    The address is that of the gateway: `url`, or `AGENT_GATEWAY_URL`. Streams are `async for`.
    """
