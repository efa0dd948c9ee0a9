"""One message and its answer, as text: for pipes and scripts. Nobody is asked anything."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct

from gateway.cli.chat.opening import ChatError
from gateway.client import GatewayError, Sent, Session
from protocol.state import State
from protocol.values import TextPart

STOP_SECONDS = 2.0
WAITING = "waiting_for_worker"


class Answer(Struct, frozen=True):
    """What a run has said so far, its messages one under the other."""

    text: str

    @classmethod
    def of(cls, state: State, run: str) -> "Answer":
        """The answer of a run."""
        texts = (
            "".join(part.text for part in message.parts if isinstance(part, TextPart))
            for message in state.messages
            if message.run == run and message.role == "assistant"
        )
        return cls("\n".join(text for text in texts if text))

    def after(self, shown: str) -> str:
        """What is to be written when `shown` was; all of it on new lines if that has changed."""
        if self.text.startswith(shown):
            return self.text[len(shown) :]
        return f"\n{self.text}"


async def converse(
    session: Session,
    message: str,
    write: Callable[[str], None],
    tell: Callable[[str], None],
    *,
    stream: bool,
) -> None:
    """Send the message, write the answer; with `stream` as it comes. Cancelling stops the run.

    `tell` gets what a person should know meanwhile.

    Raises:
        ChatError: the run failed, was stopped, or waits for a person.
        GatewayError: the message was refused.
    """
    sent = await session.send(message, if_busy="enqueue")
    try:
        await _follow(session, sent, write, tell, stream=stream)
    except asyncio.CancelledError:
        await _stop(session, sent)
        raise
    ended = session.ended(sent)
    if ended is not None and ended.status == "failed":
        raise ChatError(f"the run failed: {ended.error.message if ended.error else ''}")
    if ended is not None and ended.status == "cancelled":
        raise ChatError("the run was stopped.")


async def _follow(
    session: Session,
    sent: Sent,
    write: Callable[[str], None],
    tell: Callable[[str], None],
    *,
    stream: bool,
) -> None:
    """To the end of the run."""
    run = sent.run or ""
    shown, seq, told = "", -1, False
    over = False
    while not over:
        state = await session.wait_until(lambda state, seq=seq: state.seq != seq)
        seq = state.seq
        over = state.seq >= sent.seq and session.is_over(sent)
        if stream or over:
            answer = Answer.of(state, run)
            write(answer.after(shown))
            shown = answer.text
        if not over:
            _check(session, state, run)
        known = state.run_of(run)
        if not told and known is not None and known.activity == WAITING:
            told = True
            tell(f"no worker has the agent {state.agent} yet: `serve --agents {state.agent}`.")
    if shown and not shown.endswith("\n"):
        write("\n")


def _check(session: Session, state: State, run: str) -> None:
    """Whether a person is needed."""
    live = state.run_of(run)
    waits = live.on or () if live is not None and live.status == "waiting" else ()
    asked = [approval for approval in session.approvals if approval.id in waits]
    if asked:
        raise ChatError(
            f"the run waits for a decision about {asked[0].title}: "
            f"answer it with `agent-gateway chat --session {session.id}` in a terminal."
        )


async def _stop(session: Session, sent: Sent) -> None:
    # It ends anyhow, and the run may have ended by itself.
    with suppress(GatewayError, TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await session.stop(sent.run)
