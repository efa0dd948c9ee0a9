"""Which question is next, and what the prompt asks."""

import asyncio
import json

from gateway.cli.chat.items import Asked
from gateway.cli.chat.opening import Wish, open_session
from gateway.cli.chat.questions import Questions, ToolQuestion
from gateway.client import ToolRun
from protocol.values import Tool
from tests.cli.chat.conftest import Join
from tests.support.processes import GatewayProcess


async def test_calls_first_then_approvals(served: GatewayProcess, join: Join) -> None:
    questions = Questions()
    begun = asyncio.Queue[ToolQuestion]()

    async def ask(_: object, run: ToolRun) -> object:
        question = ToolQuestion(run)
        questions.add(question)
        begun.put_nowait(question)
        return await question.answer

    rename = Tool(name="rename", parameters={"type": "object"}, approval=True)
    session = await open_session(
        await join(served), Wish(agent="scripted"), declared=[rename], handler=ask
    )
    assert questions.next(session) is None
    assert questions.prompt(session) == ""
    steps = [
        {"call_tool": {"name": "rename", "arguments": {"a": 1}}},
        {"approve": {"title": "Ok?"}},
    ]
    sent = await session.send(json.dumps(steps))

    await session.wait_until(lambda _: bool(session.approvals))
    (approval,) = session.approvals
    assert questions.unseen(session) == [Asked("rename", {"a": 1}, tool=False)]
    assert questions.unseen(session) == []
    assert questions.prompt(session) == "rename [y/n/always/edit]"
    questions.editing = approval.id
    assert questions.prompt(session) == "arguments of rename"
    questions.answering(approval.id)
    assert questions.next(session) is None
    questions.refused(approval.id)
    assert questions.next(session) is approval
    questions.answering(approval.id)
    await session.approve(approval.id)

    question = await begun.get()
    assert question.asked == Asked("rename", {"a": 1}, tool=True)
    assert questions.next(session) is question
    assert questions.calls() == {question.call.id}
    questions.remove(question)
    questions.remove(question)
    question.answer.set_result(None)

    await session.wait_until(lambda _: bool(session.approvals))
    assert questions.prompt(session) == "Ok? [y/n]"
    await session.approve(session.approvals[0].id)
    await session.finished(sent)
    session.close()
    assert questions.next(session) is None
