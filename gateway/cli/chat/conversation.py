"""A chat without its terminal: one client, the session that is talked in, the questions that wait.

What a person types goes in as lines, what is to be seen goes to a `Screen`. Nothing here waits for
the gateway before the next line is taken: what has no answer yet is counted in the status.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from msgspec import Struct, structs

from gateway.cli.chat import lines
from gateway.cli.chat.items import Item, Live, Note, Typed
from gateway.cli.chat.opening import Wish, open_session
from gateway.cli.chat.questions import Questions, ToolQuestion
from gateway.cli.chat.transcript import Transcript, encoded
from gateway.client import AsyncClient, GatewayError, Session, StateReset, ToolRun
from protocol.events import Event
from protocol.frames import SessionRow
from protocol.model import Approval
from protocol.values import Detail, Tool

LAST = 10
LISTED = 20


class View(Struct, frozen=True):
    """Everything below what stays on the screen."""

    live: Live
    status: str
    question: str
    """What the prompt asks; empty: for a message."""


class Screen(Protocol):
    """Where a chat is seen."""

    def show(self, items: Sequence[Item], view: View) -> None:
        """Add items that stay and replace what is below them; must not block."""
        ...

    async def edit(self, text: str) -> str | None:
        """Let the person edit a text; None: the text is in the prompt now, and comes as a line."""
        ...


class Conversation:
    """What a person who sits at a terminal does with sessions; `run` until it is left."""

    def __init__(
        self,
        client: AsyncClient,
        screen: Screen,
        *,
        tools: Sequence[Tool] = (),
        detail: Detail | None = None,
        stream: bool = True,
    ) -> None:
        self.session: Session | None = None
        self._client = client
        self._screen = screen
        self._tools = tuple(tools)
        self._detail: Detail | None = detail
        self._transcript = Transcript(stream=stream)
        self._questions = Questions()
        self._listed: list[str] = []  # session ids by their numbers in the last list
        self._waiting = 0  # commands without an answer
        self._stopping = False
        self._early: list[str] | None = []  # said before there was a session
        self._work: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._follower: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._failure: GatewayError | None = None
        client.on_status(lambda _: self._changed())

    async def run(self, wish: Wish, first: str | None = None) -> None:
        """Open the session, say `first`, and go on until `quit` or until the client is closed.

        Raises:
            GatewayError: the session cannot be opened, or the gateway refused for good.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._open(wish)
                early, self._early = self._early or [], None
                for text in early if first is None else (first, *early):
                    self._say(text)
                await self._over.wait()
            except GatewayError as error:
                self._failure = error  # not raised here: the group would wrap it
            finally:
                for task in self._work:
                    task.cancel()
        if self._failure is not None:
            raise self._failure

    def quit(self) -> None:
        """Leave; the session and its run go on."""
        self._over.set()

    # --- what a person does

    def enter(self, line: str) -> None:
        """A line was typed."""
        match lines.read(line):
            case lines.Mistake(text=text):
                self._tell(Note(text, "warning"))
            case lines.Order() as order:
                self._order(order)
            case lines.Message(text=text):
                question = self._questions.next(self.session)
                if question is None:
                    if text:
                        self._say(text)
                elif isinstance(question, ToolQuestion):
                    self._result(question, text)
                else:
                    self._decide(question, text)

    def interrupt(self) -> None:
        """Ctrl-C: stop the run; without one say how to leave."""
        if self._busy():
            self._stop()
        else:
            self._tell(Note("Nothing runs. Ctrl-D quits, /help tells more."))

    def _order(self, order: lines.Order) -> None:
        match order.name:
            case "help":
                self._tell(*(Note(text, "plain") for text in lines.HELP.values()), Note(lines.KEYS))
            case "quit":
                self.quit()
            case "stop":
                self.interrupt()
            case "thinking":
                thoughts = self._transcript.thoughts
                self._tell(Note(thoughts[-1] if thoughts else "No thinking was seen so far."))
            case "say":
                self._say(order.argument)
            case "error":
                self._error(order.argument)
            case "sessions":
                self._start(self._list())
            case "new":
                self._start(self._switch(Wish(agent=order.argument or self._agent)))
            case "resume":
                self._resume(order.argument)
            case "detail":
                self._set_detail(order.argument)

    def _resume(self, name: str) -> None:
        if name.isdecimal() and 1 <= int(name) <= len(self._listed):
            name = self._listed[int(name) - 1]
        if not name:
            self._tell(Note("Which one? /sessions lists them, /resume ID goes on.", "warning"))
            return
        self._start(self._switch(Wish(session=name)))

    def _set_detail(self, text: str) -> None:
        level = lines.detail(text)
        if level is None or self.session is None:
            self._tell(Note("Say /detail answer, /detail steps or /detail full.", "warning"))
            return
        self._detail = level
        self._start(self._again(self.session.id))

    # --- messages, answers, stops

    def _say(self, text: str) -> None:
        session = self.session
        if self._early is not None:
            self._early.append(text)
            return
        if session is None or session.closed:
            self._tell(Note("No session is open: /new begins one.", "warning"))
            return
        message = self._client.make_id("m")
        self._transcript.typed(message)
        self._tell(Typed(text, steering=session.state.live_run is not None))
        self._start(self._send(session, text, message))

    async def _send(self, session: Session, text: str, message: str) -> None:
        await session.send(text, message=message, if_busy="steer")

    def _stop(self) -> None:
        if self.session is not None and not self._stopping:
            self._stopping = True
            self._start(self._interrupt(self.session))

    async def _interrupt(self, session: Session) -> None:
        try:
            await session.stop()
        except GatewayError as error:
            if error.code != "run.not_active":
                raise
        finally:
            self._stopping = False

    def _result(self, question: ToolQuestion, text: str) -> None:
        if text and not question.answer.done():
            question.answer.set_result(lines.result(text))
            self._answered_tool(question)

    def _error(self, text: str) -> None:
        question = self._questions.next(self.session)
        if not isinstance(question, ToolQuestion):
            self._tell(Note("No tool call waits for an answer.", "warning"))
            return
        if not question.answer.done():
            text = text or "The person could not do that."
            question.answer.set_exception(GatewayError("tool.failed", text))
            self._answered_tool(question)

    def _answered_tool(self, question: ToolQuestion) -> None:
        self._questions.remove(question)
        self._changed()

    def _decide(self, approval: Approval, text: str) -> None:
        editing = self._questions.editing == approval.id
        answer = lines.edited(text) if editing else lines.decision(text)
        if isinstance(answer, lines.Mistake):
            self._tell(Note(answer.text, "warning"))
        elif isinstance(answer, lines.Edit):
            self._start(self._edit(approval))
        else:
            self._answer(approval, answer)

    async def _edit(self, approval: Approval) -> None:
        text = await self._screen.edit(encoded(approval.arguments or {}))
        if text is None:
            self._questions.editing = approval.id
            self._changed()
            return
        answer = lines.edited(text)
        if isinstance(answer, lines.Mistake):
            self._tell(Note(answer.text, "warning"))
        elif self._questions.next(self.session) is approval:
            self._answer(approval, answer)

    def _answer(self, approval: Approval, answer: lines.Decision) -> None:
        if self.session is not None:
            self._questions.answering(approval.id)
            self._start(self._respond(self.session, approval.id, answer))
            self._changed()

    async def _respond(self, session: Session, approval: str, answer: lines.Decision) -> None:
        try:
            if answer.approve:
                await session.approve(
                    approval, arguments=answer.arguments, remember=answer.remember
                )
            else:
                await session.deny(approval, reason=answer.reason)
        except GatewayError:
            self._questions.refused(approval)
            raise

    # --- sessions

    @property
    def _agent(self) -> str | None:
        return self.session.state.agent if self.session is not None else None

    async def _open(self, wish: Wish) -> None:
        session = await open_session(
            self._client, wish, declared=self._tools, handler=self._ask, detail=self._detail
        )
        welcome = self._client.welcome
        me = welcome.principal.subject if welcome is not None else ""
        self._transcript = Transcript(stream=self._transcript.stream, me=me)
        state = session.state
        self._tell(Note(f"session {session.id} · agent {state.agent} · /help"))
        self._follow(session)
        self._tell(*self._transcript.begin(state, LAST))

    def _follow(self, session: Session) -> None:
        """From now on this is the session."""
        self.session = session
        assert self._group is not None
        if self._follower is not None:
            self._follower.cancel()
        self._follower = self._group.create_task(self._listen(session))
        self._work.add(self._follower)
        self._follower.add_done_callback(self._work.discard)

    async def _switch(self, wish: Wish) -> None:
        old = self.session
        if old is not None and wish.session == old.id:
            self._tell(Note("That is this session."))
            return
        await self._open(wish)
        if old is not None:
            old.close()

    async def _again(self, session: str) -> None:
        """The same session with another detail: what was shown stays shown."""
        assert self.session is not None
        self.session.close()
        opened = await open_session(
            self._client,
            Wish(session=session),
            declared=self._tools,
            handler=self._ask,
            detail=self._detail,
        )
        self._follow(opened)
        self._tell(
            *self._transcript.reset(opened.state), Note(f"You see the detail {opened.detail} now.")
        )

    async def _list(self) -> None:
        rows = await self._client.list_sessions(limit=LISTED)
        self._listed = [row.session for row in rows]
        here = self.session.id if self.session is not None else ""
        notes = [
            Note(_row(number, row, here=row.session == here), "plain")
            for number, row in enumerate(rows, 1)
        ]
        self._tell(
            *notes,
            Note("/resume NUMBER or /resume ID goes on." if rows else "You have no sessions."),
        )

    # --- what happens

    async def _listen(self, session: Session) -> None:
        events = session.events()
        try:
            async for event in events:
                self._heard(session, event)
                if not events.backlog:
                    self._tell(*self._transcript.update(session.state))
        except GatewayError as error:
            if self._client.status == "closed":
                self._failure = error
                self.quit()
            else:
                self._tell(Note(f"{error.message} /new begins another session.", "error"))

    def _heard(self, session: Session, event: Event | StateReset) -> None:
        if isinstance(event, StateReset):
            self._tell(*self._transcript.reset(session.state))
        elif items := self._transcript.heard(event):
            self._tell(*self._transcript.update(session.state), *items)

    async def _ask(self, _: Any, run: ToolRun) -> Any:
        """The handler of every tool: the person executes it."""
        question = ToolQuestion(run)
        self._questions.add(question)
        self._tell(question.asked)
        try:
            return await question.answer
        finally:
            self._questions.remove(question)
            self._changed()

    def _busy(self) -> bool:
        session = self.session
        if session is None or session.closed:
            return False
        return session.state.live_run is not None or bool(session.state.queue)

    # --- what is seen

    def _changed(self) -> None:
        self._tell()

    def _tell(self, *items: Item) -> None:
        session = self.session
        live = Live()
        if session is not None and not session.closed:
            live = self._transcript.live(session.state)
            items = (*items, *self._questions.unseen(session))
        asked = self._questions.calls()
        asks = self._questions.prompt(session)
        live = structs.replace(
            live,
            calls=tuple(call for call in live.calls if call.id not in asked),
            activity="waits for you" if asks else live.activity,
        )
        self._screen.show(items, View(live, self._status(live), asks))

    def _status(self, live: Live) -> str:
        waits = f", {self._waiting} unsent" if self._waiting else ""
        match self._client.status:
            case "open":
                return "stopping" if self._stopping else "Ctrl-C stops" if live.busy else ""
            case "closed":
                return "closed"
            case status:
                return f"{status}: trying to reach the gateway{waits}"

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        task = self._group.create_task(self._told(work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it; a refusal is told."""
        self._waiting += 1
        error: GatewayError | None = None
        try:
            await work
        except GatewayError as refused:
            error = refused
        finally:
            self._waiting -= 1
        if error is None:
            self._changed()
        else:
            self._tell(Note(error.message, "error"))


def _row(number: int, row: SessionRow, *, here: bool) -> str:
    title = row.metadata.get("title", "")
    when = row.updated[:16].replace("T", " ")
    text = f"{number:2}  {row.session}  {row.agent}  {row.status}  {when}  {title}".rstrip()
    return f"{text}  (this one)" if here else text
