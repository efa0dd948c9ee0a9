"""The client without asyncio: the same machine in a thread of its own, methods that block.

Callbacks and iterations run in the caller's thread; handlers of tools in threads of the client.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, Self, TypeVar, Unpack, overload

from gateway.client.agent import (
    AgentConfig,
    AsyncAgent,
    Callbacks,
    Content,
    Ears,
    Reply,
    Step,
    configured,
)
from gateway.client.client import OPEN_SECONDS, AsyncClient
from gateway.client.errors import GatewayError
from gateway.client.portal import Portal
from gateway.client.run import AsyncRun, Update, task_of
from gateway.client.session import Sent, Session, Started
from gateway.client.socket import Token
from gateway.client.stream import Item
from gateway.client.tool import ClientTool
from protocol.commands import App
from protocol.frames import SessionRow
from protocol.state import Approval, Call, Run, State, copy
from protocol.values import Detail, ErrorInfo, IfBusy

T = TypeVar("T")


class Client:
    """A client of the gateway at `url`, connected; see `AsyncClient` for what it keeps up.

        with Client("http://127.0.0.1:8000") as client:
            print(client.agent("echo").send_message("Hello").text)

    Without `url` the address is that of `AGENT_GATEWAY_URL`.
    In a notebook without `with`: call `close` at the end. `timeout`: seconds for the first
    welcome. Raises `GatewayError` as `AsyncClient.connect` does.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: Token | None = None,
        api_key: Token | None = None,
        app: App | None = None,
        timeout: float = OPEN_SECONDS,
    ) -> None:
        token = api_key if token is None else token
        self._portal = Portal()
        try:
            self._client = self._portal.call(_made(url, token, app, timeout))
        except BaseException:
            self._portal.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up and end the thread; runs go on."""
        with suppress(GatewayError):  # it is closed, or another thread does that
            self._portal.call(self._client.close())
        self._portal.close()

    @property
    def status(self) -> str:
        """`connecting`, `open`, `resuming`, `offline` or `closed`."""
        return self._client.status

    def session(
        self,
        session: str | None = None,
        *,
        agent: str | None = None,
        tools: Sequence[ClientTool] = (),
        metadata: dict[str, Any] | None = None,
        detail: Detail | None = None,
    ) -> "BlockingSession":
        """Create or take up a session; see `AsyncClient.session`."""
        opened = self._client.session(
            session, agent=agent, tools=tools, metadata=metadata, detail=detail
        )
        return BlockingSession(self._portal, self._portal.call(opened))

    def agent(self, config: str | Mapping[str, Any]) -> "Agent":
        """A conversation with an agent: its name, or `{"agent": …, "tools": […], …}`."""
        return Agent(self._portal, self._client, configured(config))

    @overload
    def run(
        self,
        task: str | Mapping[str, Any],
        *,
        stream: Literal[False] = False,
        timeout: float | None = None,
    ) -> Update: ...

    @overload
    def run(self, task: str | Mapping[str, Any], *, stream: Literal[True]) -> "BlockingRun": ...

    def run(
        self,
        task: str | Mapping[str, Any],
        *,
        stream: bool = False,
        timeout: float | None = None,
    ) -> "Update | BlockingRun":
        """Run an agent without a conversation; the last update, or all; see `AsyncClient.run`."""
        run = AsyncRun(self._client, task_of(task))
        return BlockingRun(self._portal, run) if stream else self._portal.call(run.outcome(timeout))

    def list_sessions(self, *, limit: int = 50, before: str | None = None) -> list[SessionRow]:
        """One's own sessions, the newest first."""
        return self._portal.call(self._client.list_sessions(limit=limit, before=before))


class BlockingRun:
    """A run's updates, to be iterated over once; see `AsyncRun`."""

    def __init__(self, portal: Portal, run: AsyncRun) -> None:
        self._portal = portal
        self._run = run

    def __iter__(self) -> Iterator[Update]:
        return self._portal.iterate(aiter(self._run))

    def cancel(self) -> None:
        """Stop the run."""
        self._portal.call(self._run.cancel())


class Inference(Client):
    """`Client` by the name that programs for inference.sh import: `Inference(api_key=…)`.

    The address is that of the gateway: `url`, or `AGENT_GATEWAY_URL`.
    """


async def _made(
    url: str | None, token: Token | None, app: App | None, timeout: float
) -> AsyncClient:
    client = AsyncClient(url, token=token, app=app)
    await client.connect(timeout)
    return client


class BlockingSession:
    """The handle of one session; see `Session`. What it gives are copies: they don't change."""

    def __init__(self, portal: Portal, session: Session) -> None:
        self._portal = portal
        self._session = session
        self.id = session.id

    @property
    def state(self) -> State:
        """The session as it is now."""
        return self._read(lambda: copy(self._session.state))

    @property
    def approvals(self) -> list[Approval]:
        """The questions that wait for an answer."""
        state = self.state
        return [a for a in state.approvals.values() if a.decision is None]

    @property
    def pending_tool_calls(self) -> list[Call]:
        """Open calls of the tools without a handler."""
        open_calls = self._read(lambda: [call.id for call in self._session.pending_tool_calls])
        state = self.state
        return [state.calls[call] for call in open_calls if call in state.calls]

    @property
    def closed(self) -> bool:
        """Whether it is no longer listened to: closed, refused or deleted."""
        return self._session.closed

    @property
    def error(self) -> GatewayError | None:
        """Why it was ended, such as `session.not_found`; None while it is open."""
        return self._session.error

    @property
    def waiting_for_worker(self) -> bool:
        """Whether nobody can answer just now: the run waits until a worker has its agent."""
        return self._read(lambda: self._session.waiting_for_worker)

    def text(self, run: str) -> str:
        """What the agent said in a run so far."""
        return self._read(lambda: self._session.text(run))

    def events(self) -> Iterator[Item]:
        """What happens from now on, until the session is closed."""
        return self._portal.iterate(self._read(self._session.events))

    def wait_until(self, condition: Callable[[State], bool], timeout: float | None = None) -> None:
        """Wait until the state fulfils a condition, which is asked in the client's thread."""
        self._portal.call(self._session.wait_until(condition), timeout)

    def finished(self, sent: Sent | Started, timeout: float | None = None) -> Run | None:
        """Wait for the end of a run; see `Session.finished`."""
        return self._portal.call(self._session.finished(sent), timeout)

    def send(self, content: Content, *, if_busy: IfBusy = "reject", **options: Any) -> Sent:
        """Send a message; see `Session.send`."""
        return self._portal.call(self._session.send(content, if_busy=if_busy, **options))

    def run(self, value: Any = None, *, if_busy: IfBusy = "reject") -> Started:
        """Start a run without a message."""
        return self._portal.call(self._session.run(value, if_busy=if_busy))

    def stop(self, run: str | None = None, *, reason: str | None = None) -> None:
        """Stop the live run, or the named one."""
        self._portal.call(self._session.stop(run, reason=reason))

    def approve(self, approval: str, **options: Any) -> None:
        """Agree; see `Session.approve`."""
        self._portal.call(self._session.approve(approval, **options))

    def deny(self, approval: str, **options: Any) -> None:
        """Disagree; see `Session.deny`."""
        self._portal.call(self._session.deny(approval, **options))

    def submit_tool_result(
        self, call: str, output: Any = None, *, error: ErrorInfo | None = None
    ) -> None:
        """Answer a call of a tool that has no handler here."""
        self._portal.call(self._session.submit_tool_result(call, output, error=error))

    def delete(self) -> None:
        """Stop what runs and delete the session."""
        self._portal.call(self._session.delete())

    def close(self) -> None:
        """Stop listening; the session lives on."""
        self._read(self._session.close)

    def _read(self, read: Callable[[], T]) -> T:
        return self._portal.call(_in_loop(read))


async def _in_loop(read: Callable[[], T]) -> T:
    return read()


class Agent:
    """A conversation with one agent; see `AsyncAgent`."""

    def __init__(self, portal: Portal, client: AsyncClient, config: AgentConfig) -> None:
        self._portal = portal
        self._agent = AsyncAgent(client, config)

    @property
    def session(self) -> BlockingSession:
        """The session behind it, opened now if it was not."""
        return BlockingSession(self._portal, self._call(self._agent.session()))

    @overload
    def send_message(
        self,
        content: Content,
        *,
        stream: Literal[False] = False,
        if_busy: IfBusy = "reject",
        **callbacks: Unpack[Callbacks],
    ) -> Reply: ...

    @overload
    def send_message(
        self,
        content: Content,
        *,
        stream: Literal[True],
        if_busy: IfBusy = "reject",
        **callbacks: Unpack[Callbacks],
    ) -> Iterator[Reply]: ...

    def send_message(
        self,
        content: Content,
        *,
        stream: bool = False,
        if_busy: IfBusy = "reject",
        **callbacks: Unpack[Callbacks],
    ) -> Reply | Iterator[Reply]:
        """Send a message; the finished reply, or with `stream` an iterator over growing ones.

        As `AsyncAgent.send_message`; the callbacks are called in this thread. A stream sends
        nothing before its first reply is asked for.
        """
        turn = self._agent.turn(content, if_busy=if_busy)
        replies = self._replies(turn, Ears(**callbacks))
        if stream:
            return replies
        reply = Reply("", False, None)
        for newer in replies:
            reply = newer
        return reply

    def _replies(self, turn: AsyncGenerator[Step], ears: Ears) -> Iterator[Reply]:
        for step in self._portal.iterate(turn):
            ears.hear(step)
            if isinstance(step, Reply):
                yield step

    def submit_tool_result(
        self, call: str, output: Any = None, *, error: ErrorInfo | None = None
    ) -> Reply:
        """Answer a pending call; the reply that the run comes to then."""
        return self._call(self._agent.submit_tool_result(call, output, error=error))

    def approve(self, approval: str, **options: Any) -> Reply:
        """Agree; the reply that the run comes to then."""
        return self._call(self._agent.approve(approval, **options))

    def deny(self, approval: str, **options: Any) -> Reply:
        """Disagree; the reply that the run comes to then."""
        return self._call(self._agent.deny(approval, **options))

    def stop(self, *, reason: str | None = None) -> None:
        """Stop the live run."""
        self._call(self._agent.stop(reason=reason))

    def reset(self) -> None:
        """Begin anew: the next message starts another session."""
        self._call(self._agent.reset())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return self._portal.call(work)
