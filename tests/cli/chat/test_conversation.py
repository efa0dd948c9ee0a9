"""A chat without a terminal against a real gateway: lines go in, items and a view come out."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.cli.chat.conversation import Conversation, View
from gateway.cli.chat.items import Asked, Called, Item, Live, Note, Said, Typed
from gateway.cli.chat.opening import Wish
from gateway.client import AsyncClient, GatewayError
from protocol.values import Tool
from tests.cli.chat.conftest import Join
from tests.support.processes import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wire import Tab, new_id

ASK = {"approve": {"title": "Sure?", "arguments": {"a": 1}}}
SLEEP = {"sleep_ms": 600_000}


class Seen:
    """A screen that keeps everything."""

    def __init__(self, edited: str | None = None) -> None:
        self.items: list[Item] = []
        self.view = View(Live(), "", "")
        self._edited = edited

    def show(self, items: Sequence[Item], view: View) -> None:
        self.items += items
        self.view = view

    async def edit(self, text: str) -> str | None:
        return self._edited

    async def item(self, item: Item) -> None:
        await eventually(lambda: item in self.items, what=f"{item}; there are {self.items}")

    async def note(self, text: str) -> None:
        def told() -> bool:
            return any(isinstance(item, Note) and text in item.text for item in self.items)

        await eventually(told, what=f"{text}; there are {self.items}")

    async def question(self, text: str) -> None:
        await eventually(lambda: self.view.question == text, what=text)


async def test_what_is_said_before_it_is_open_is_sent_then(
    served: GatewayProcess, join: Join
) -> None:
    seen = Seen()
    conversation = Conversation(await join(served), seen)
    conversation.enter("Good morning")
    async with asyncio.TaskGroup() as group:
        group.create_task(conversation.run(Wish(agent="echo"), "Hello"))
        for text in ("Hello", "Good morning"):
            await seen.item(Typed(text))
        conversation.quit()


@asynccontextmanager
async def talking(
    client: AsyncClient, seen: Seen, wish: Wish, **options: Any
) -> AsyncGenerator[Conversation]:
    conversation = Conversation(client, seen, **options)
    async with asyncio.TaskGroup() as group:
        group.create_task(conversation.run(wish))
        await seen.note("· agent ")
        yield conversation
        conversation.quit()


def script(*steps: dict[str, Any]) -> str:
    return json.dumps(steps)


async def test_a_message_and_its_answer(served: GatewayProcess, join: Join) -> None:
    seen = Seen()
    async with talking(await join(served), seen, Wish(agent="echo")) as chat:
        chat.enter("Hi")
        assert seen.items[-1] == Typed("Hi")
        await seen.item(Said("Hi"))
        chat.enter("")
        await eventually(lambda: not seen.view.live.busy, what="idle")
        assert seen.items.count(Typed("Hi")) == 1


async def test_a_question_that_another_answers_goes_away(
    served: GatewayProcess, join: Join
) -> None:
    seen, session = Seen(), new_id("s")
    async with talking(await join(served), seen, Wish("scripted", session)) as chat:
        chat.enter(script(ASK, {"say": "{last}"}))
        await seen.question("Sure? [y/n/edit]")
        assert Asked("Sure?", {"a": 1}, tool=False) in seen.items
        assert seen.view.live.activity == "waits for you"
        async with Tab(served.url) as tab:
            state = (await tab.subscribe(session))["state"]
            (approval,) = state["approvals"]
            about = {"session": session, "approval": approval, "decision": "approve"}
            await tab.must({"type": "approval.respond", **about})
        await seen.item(Said('{"decision":"approve"}'))
        assert seen.view.question == ""


@pytest.mark.parametrize(
    ("edited", "told"),
    [('{"a": 2}', '{"decision":"approve","arguments":{"a":2}}'), ("{", "That is no JSON")],
)
async def test_edited_arguments(served: GatewayProcess, join: Join, edited: str, told: str) -> None:
    seen = Seen(edited)
    async with talking(await join(served), seen, Wish(agent="scripted")) as chat:
        chat.enter(script(ASK, {"say": "{last}"}))
        await seen.question("Sure? [y/n/edit]")
        chat.enter("e")
        if edited == "{":
            await seen.note(told)
            assert seen.view.question == "Sure? [y/n/edit]"
        else:
            await seen.item(Said(told))


async def test_calls_are_asked_one_after_the_other(served: GatewayProcess, join: Join) -> None:
    seen = Seen()
    tools = [Tool(name=name, parameters={"type": "object"}) for name in ("one", "two")]
    wish = Wish(agent="scripted")
    async with talking(await join(served), seen, wish, tools=tools) as chat:
        calls = [{"name": "one", "arguments": {"a": 1}}, {"name": "two"}]
        chat.enter(script({"call_tools": calls}, {"say": "{last}"}))
        await seen.question("result of one (JSON or text, or /error MESSAGE)")
        chat.enter("")
        chat.enter("/say []")
        chat.enter('{"b": 2}')
        await seen.question("result of two (JSON or text, or /error MESSAGE)")
        chat.enter("/error")
        await seen.item(
            Said('[{"b":2},{"error":{"code":"tool.failed",'
                 '"message":"The person could not do that."}}]')
        )  # fmt: skip
        outcomes = [item.call.name for item in seen.items if isinstance(item, Called)]
        assert outcomes == ["one", "two"]


async def test_a_call_whose_run_is_stopped_is_asked_no_more(
    served: GatewayProcess, join: Join
) -> None:
    seen = Seen()
    tools = [Tool(name="one", parameters={"type": "object"})]
    async with talking(await join(served), seen, Wish(agent="scripted"), tools=tools) as chat:
        chat.enter(script({"call_tool": {"name": "one"}}))
        await seen.question("result of one (JSON or text, or /error MESSAGE)")
        chat.interrupt()
        chat.interrupt()
        await seen.item(Note("Stopped.", "warning"))
        await seen.question("")
        chat.enter("/error nothing")
        await seen.note("No tool call waits")
        chat.enter("/stop")
        await seen.note("Ctrl-D quits")


async def test_the_tools_of_a_session_are_taken_up(served: GatewayProcess, join: Join) -> None:
    seen = Seen()
    async with Tab(served.url) as tab:
        session = await tab.create(tools=[{"name": "one", "parameters": {"type": "object"}}])
    async with talking(await join(served), seen, Wish(session=session)) as chat:
        chat.enter(script({"call_tool": {"name": "one"}}, {"say": "{last}"}))
        await seen.question("result of one (JSON or text, or /error MESSAGE)")
        chat.enter("3")
        await seen.item(Said("3"))


async def test_a_live_run_is_steered(served: GatewayProcess, join: Join) -> None:
    seen = Seen()
    async with talking(await join(served), seen, Wish(agent="scripted")) as chat:
        chat.enter(script({"say": "a\n\nb"}, SLEEP))
        await seen.item(Said("a\n\n"))
        chat.enter("[]")
        assert seen.items[-1] == Typed("[]", steering=True)
        await eventually(lambda: len(chat.session.state.messages) == 3, what="it is stored")  # type: ignore[union-attr]
        assert chat.session is not None
        assert chat.session.state.live_run is not None


async def test_another_session(served: GatewayProcess, join: Join) -> None:
    seen, first = Seen(), new_id("s")
    async with talking(await join(served), seen, Wish("echo", first)) as chat:
        chat.enter("Hi")
        await seen.item(Said("Hi"))
        await eventually(lambda: not seen.view.live.busy, what="idle")
        chat.enter("/new")
        await eventually(lambda: chat.session and chat.session.id != first, what="a new one")
        chat.enter("/sessions")
        await seen.note(f" 2  {first}  echo  completed")
        chat.enter("/resume")
        await seen.note("Which one?")
        chat.enter("/resume nobody")
        await seen.note("no session nobody")
        del seen.items[:]
        chat.enter("/resume 2")
        await seen.item(Said("Hi"))
        assert Typed("Hi") in seen.items
        chat.enter(f"/resume {first}")
        await seen.note("That is this session.")


async def test_another_detail_shows_nothing_twice(served: GatewayProcess, join: Join) -> None:
    seen = Seen()
    async with talking(await join(served), seen, Wish(agent="scripted")) as chat:
        chat.enter(script({"say": "a\n\nb"}, {"approve": {"title": "Sure?"}}, {"say": "c"}))
        await seen.question("Sure? [y/n]")
        chat.enter("/detail everything")
        await seen.note("/detail answer")
        chat.enter("/detail answer")
        await seen.note("You see the detail answer now.")
        await seen.question("Sure? [y/n]")
        chat.enter("y")
        await seen.item(Said("c"))
        said = "".join(item.text for item in seen.items if isinstance(item, Said))
        assert said == "a\n\nbc"
        assert [type(item) for item in seen.items].count(Asked) == 1


async def test_a_deleted_session_is_told(served: GatewayProcess, join: Join) -> None:
    seen, session = Seen(), new_id("s")
    async with talking(await join(served), seen, Wish("echo", session)) as chat:
        async with Tab(served.url) as tab:
            await tab.must({"type": "session.delete", "session": session})
        await seen.note("/new begins another session.")
        chat.enter("Hi")
        await seen.note("No session is open")
        chat.interrupt()
        await seen.note("Ctrl-D quits")


async def test_help_and_mistakes(served: GatewayProcess, join: Join) -> None:
    seen = Seen()
    async with talking(await join(served), seen, Wish(agent="echo")) as chat:
        chat.enter("/help")
        await seen.note("/resume ID")
        chat.enter("/nonsense")
        await seen.note("/nonsense is no command")
        chat.enter("/thinking")
        await seen.note("No thinking")


async def test_a_session_that_is_refused(served: GatewayProcess, join: Join) -> None:
    chat = Conversation(await join(served), Seen())
    with pytest.raises(GatewayError, match="no session nobody"):
        await chat.run(Wish(session="nobody"))


async def test_a_gateway_that_refuses_for_good(served: GatewayProcess, join: Join) -> None:
    client, seen = await join(served), Seen()
    chat = Conversation(client, seen)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(refusal(chat))
        await seen.note("· agent echo")
        async with Tab(served.url, client=client.id):  # the same client id: superseded
            assert "4409" in await running


async def refusal(chat: Conversation) -> str:
    """How the conversation ends."""
    with pytest.raises(GatewayError) as refused:
        await chat.run(Wish())
    return str(refused.value)
