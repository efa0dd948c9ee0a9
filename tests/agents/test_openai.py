"""The `openai` agent against a real HTTP endpoint: steps, tools, reasoning, steering, failures."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs

from gateway.agents.openai import OpenAIAgent, OpenAIOptions
from gateway.errors import ConfigurationError
from gateway.runtime.agent import agent as as_agent
from gateway.runtime.context import RunContext
from gateway.runtime.lease import LeaseTimes
from gateway.runtime.tools import server_tool
from protocol import commands as cmd
from protocol import events as ev
from protocol.values import ErrorInfo, FilePart, TextPart, Tool, Usage
from tests.agents.driving import Works, working
from tests.support import recordings
from tests.support.inprocess import ManualClock
from tests.support.model_server import Answer, ModelServer, recorded, refused, said
from tests.support.waiting import eventually

KEY = "sk-canary-0987654321"
OBJECT: dict[str, Any] = {"type": "object", "properties": {}}


def agent(server: ModelServer, **options: Any) -> OpenAIAgent:
    return OpenAIAgent(base_url=server.url, api_key=KEY, model="m-1", **options)


def tool(name: str, **options: Any) -> Tool:
    return Tool(name, OBJECT, **options)


def call(name: str, arguments: str = "{}", *, id: str = "x", index: int = 0) -> dict[str, Any]:  # noqa: A002
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}


def roles(request: Any) -> list[str]:
    return [message["role"] for message in request.body["messages"]]


DONE = said({"content": "Done."}, usage=(20, 2))


async def test_an_answer_streams_into_a_message() -> None:
    async with ModelServer([said({"content": "Hel"}, {"content": "lo!"}, usage=(7, 3))]) as server:
        helpful = agent(server, system="Be helpful.")
        async with working(helpful) as place:
            run = await place.end(await place.send("Hi"))
            assert await place.parts() == [[("text", "Hello!")]]
            (message,) = await place.said()
    assert (run.status, run.finish_reason, run.usage) == ("completed", "stop", Usage(7, 3))
    assert (message.status, message.usage) == ("complete", Usage(7, 3))
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "m-1",
        "messages": [
            {"role": "system", "content": "Be helpful."},
            {"role": "user", "content": "Hi"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_the_next_run_sees_the_conversation() -> None:
    async with (
        ModelServer([said({"content": "One."}), DONE]) as server,
        working(agent(server)) as place,
    ):
        await place.end(await place.send("First"))
        image = FilePart("https://x/a.png", "image/png")
        await place.end(await place.send([TextPart("And this?"), image]))
    assert server.requests[1].body["messages"] == [
        {"role": "user", "content": "First"},
        {"role": "assistant", "content": "One."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And this?"},
                {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
            ],
        },
    ]


async def test_a_run_that_was_started_by_an_input() -> None:
    async with ModelServer([DONE]) as server, working(agent(server)) as place:
        ok = await place.submit(cmd.RunStart, input={"task": 1})
        assert ok.run is not None
        assert (await place.end(ok.run)).status == "completed"
        assert server.requests[0].body["messages"] == [{"role": "user", "content": '{"task":1}'}]


async def test_the_loop_over_tools_of_the_page_and_of_the_server() -> None:
    @server_tool
    async def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    first = said(
        {"content": "Let me see."},
        call("add", '{"a": 1,', id="call_1"),
        {"tool_calls": [{"index": 0, "function": {"arguments": ' "b": 2}'}}]},
        call("page_scan", "", id="call_2", index=1),
        finish="tool_calls",
        usage=(10, 5),
    )
    async with ModelServer([first, DONE]) as server:
        counting = agent(server, tools=[add], options=OpenAIOptions(request={"temperature": 0}))
        async with working(counting, tool("page.scan", description="Scans.")) as place:
            sent = await place.send("Go")
            await place.answer({"page.scan": {"headings": ["Hé"]}})
            run = await place.end(sent)
            assert await place.parts() == [
                [("commentary", "Let me see."), ("tool_call", "add"), ("tool_call", "page.scan")],
                [("text", "Done.")],
            ]
            started = await place.events(ev.ToolCallStarted)
            replaced = await place.events(ev.MessagePart)
    assert run.usage == Usage(30, 7)
    assert [(c.name, c.target) for c in started] == [("add", "server"), ("page.scan", "client")]
    assert [p.part for p in replaced] == [0]
    one, two = (request.body for request in server.requests)
    assert one["temperature"] == 0
    assert one["tools"] == [
        {
            "type": "function",
            "function": {"name": "add", "description": "Adds.", "parameters": add.parameters},
        },
        {
            "type": "function",
            "function": {"name": "page_scan", "description": "Scans.", "parameters": OBJECT},
        },
    ]
    assert two["messages"] == [
        {"role": "user", "content": "Go"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a":1,"b":2}'},
                },
                {
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "page_scan", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "3"},
        {"role": "tool", "tool_call_id": "call_2", "content": '{"headings":["Hé"]}'},
    ]


async def test_what_goes_wrong_in_a_call_is_for_the_model_to_see() -> None:
    @server_tool
    def divide(a: int, b: int) -> float:
        return a / b

    first = said(
        call("divide", '{"a": 1, "b": 0}', id="1", index=0),
        call("divide", '{"a": 1}', id="2", index=1),
        call("divide", '{"a": 1', id="3", index=2),
        call("no_such_tool", id="4", index=3),
        call("ask", id="5", index=4),
        finish="tool_calls",
    )
    async with (
        ModelServer([first, DONE]) as server,
        working(agent(server, tools=[divide]), tool("ask")) as place,
    ):
        sent = await place.send("Go")
        await place.answer({"ask": ErrorInfo("tool.failed", "The page is gone.")})
        assert (await place.end(sent)).status == "completed"
    results = server.requests[1].body["messages"][2:]
    assert [result["tool_call_id"] for result in results] == ["1", "2", "3", "4", "5"]
    errors = [json.loads(result["content"])["error"] for result in results]
    assert [error["code"] for error in errors] == [
        "tool.failed",
        "tool.failed",
        "tool.failed",
        "tool.unknown",
        "tool.failed",
    ]
    assert "division by zero" in errors[0]["message"]
    assert "`b`" in errors[1]["message"]
    assert errors[4]["message"] == "The page is gone."


async def test_a_denied_call_is_for_the_model_to_see() -> None:
    first = said(call("rename", '{"title": "Q1"}'), finish="tool_calls")
    async with (
        ModelServer([first, DONE]) as server,
        working(agent(server), tool("rename", approval=True)) as place,
    ):
        sent = await place.send("Go")

        async def asked() -> str | None:
            approvals = (await place.state()).approvals.values()
            return next((a.id for a in approvals if a.decision is None), None)

        approval = await eventually(asked)
        await place.submit(
            cmd.ApprovalRespond, approval=approval, decision="deny", reason="Not now."
        )
        assert (await place.end(sent)).status == "completed"
    assert json.loads(server.requests[1].body["messages"][-1]["content"]) == {
        "error": {"code": "tool.denied", "message": "Not now."}
    }


# --- which text is the answer

STEP: Sequence[dict[str, Any]] = ({"content": "<think>Hm"}, {"content": ".</think>I lo"})


async def test_tags_and_a_preamble_that_is_shown() -> None:
    first = said(*STEP, {"content": "ok."}, call("look"), finish="tool_calls")
    async with ModelServer([first, DONE]) as server, working(agent(server), tool("look")) as place:
        sent = await place.send("Go")
        await place.answer({"look": 1})
        await place.end(sent)
        assert await place.parts() == [
            [("thinking", "Hm."), ("commentary", "I look."), ("tool_call", "look")],
            [("text", "Done.")],
        ]
        kinds = {(d.kind, d.message) for d in await place.events(ev.MessageDelta)}
        assert ("text", (await place.said())[0].id) in kinds, "it was shown as text at first"


async def test_a_preamble_that_is_held() -> None:
    first = said(*STEP, {"content": "ok."}, call("look"), finish="tool_calls")
    async with (
        ModelServer([first, DONE]) as server,
        working(agent(server, preamble="hold"), tool("look")) as place,
    ):
        sent = await place.send("Go")
        await place.answer({"look": 1})
        await place.end(sent)
        assert await place.parts() == [
            [("thinking", "Hm."), ("commentary", "I look."), ("tool_call", "look")],
            [("text", "Done.")],
        ]
        deltas = await place.events(ev.MessageDelta)
        assert {d.delta for d in deltas if d.kind == "text"} == {"Done."}
        assert await place.events(ev.MessagePart) == []


async def test_a_marker() -> None:
    answer = said({"content": "Thought: easy. Final"}, {"content": " Answer: 42"})
    async with ModelServer([answer]) as server:
        react = agent(server, options=OpenAIOptions(marker="Final Answer: "))
        async with working(react) as place:
            await place.end(await place.send("Go"))
            assert await place.parts() == [[("commentary", "Thought: easy. "), ("text", "42")]]


# --- reasoning and private data


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning_goes_back_to_who_wants_it(field: str) -> None:
    first = said({field: "I must "}, {field: "look."}, call("look"), finish="tool_calls")
    async with (
        ModelServer([first, DONE, DONE]) as server,
        working(agent(server), tool("look")) as place,
    ):
        sent = await place.send("Go")
        await place.answer({"look": 1})
        await place.end(sent)
        await place.end(await place.send("And?"))
        assert (await place.parts())[0] == [
            ("thinking", "I must look."),
            ("tool_call", "look"),
        ]
    assert server.requests[1].body["messages"][1][field] == "I must look."
    again = server.requests[2].body["messages"][1]
    assert again[field] == "I must look.", "a new question wants it, too (A1)"


async def test_each_thought_keeps_its_signature_though_nothing_is_shown_between() -> None:
    def signed(text: str, index: int) -> dict[str, Any]:
        return {"type": "reasoning.text", "text": text, "index": index, "signature": f"sig{index}"}

    first = said(
        {"reasoning": "A", "reasoning_details": [signed("A", 0)]},
        {"content": "Let me look."},
        {"reasoning": "B", "reasoning_details": [signed("B", 1)]},
        call("look"),
        finish="tool_calls",
    )
    async with (
        ModelServer([first, DONE]) as server,
        working(agent(server, preamble="hold"), tool("look")) as place,
    ):
        sent = await place.send("Go")
        await place.answer({"look": 1})
        await place.end(sent)
    sent_back = server.requests[1].body["messages"][1]
    assert sent_back["reasoning_details"] == [signed("A", 0), signed("B", 1)]


async def test_signed_reasoning_goes_back_verbatim_and_is_nobodys_business() -> None:
    details = [
        {"type": "reasoning.text", "text": "I must look.", "index": 0, "signature": "sig=="},
        {"type": "reasoning.encrypted", "data": "gAAA", "index": 1, "id": "rs_1"},
    ]
    first = said(
        {
            "reasoning": "I must ",
            "reasoning_details": [{**details[0], "text": "I must ", "signature": None}],
        },
        {"reasoning": "look.", "reasoning_details": [{**details[0], "text": "look."}]},
        {"reasoning_details": [details[1]]},
        {"content": "I look."},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "x",
                    "function": {"name": "look", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "th=="}},
                }
            ]
        },
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "late"}]},
        finish="tool_calls",
    )
    async with (
        ModelServer([first, DONE]) as server,
        working(agent(server), tool("look")) as place,
    ):
        sent = await place.send("Go")
        await place.answer({"look": 1})
        await place.end(sent)
        assert (await place.parts())[0] == [
            ("thinking", "I must look."),
            ("commentary", "I look."),
            ("tool_call", "look"),
            ("thinking", ""),
        ]
    sent_back = server.requests[1].body["messages"][1]
    assert sent_back["reasoning_details"] == [
        *details,
        {"type": "reasoning.encrypted", "data": "late"},
    ]
    (made,) = sent_back["tool_calls"]
    assert made["extra_content"] == {"google": {"thought_signature": "th=="}}


# --- steering, steps, stopping


async def test_a_steering_message_is_read_by_the_next_model_call() -> None:
    first = said(call("look"), finish="tool_calls")
    async with ModelServer([first, DONE]) as server, working(agent(server), tool("look")) as place:
        sent = await place.send("Go")
        await place.requested("look")
        assert await place.send("Be quick.", if_busy="steer", message="m_steer") == sent
        await place.answer({"look": 1})
        assert (await place.end(sent)).status == "completed"
        assert [m.read for m in await place.events(ev.MessageStarted)] == [None, ["m_steer"]]
        assert (await place.state()).queue == []
    assert roles(server.requests[1]) == ["user", "assistant", "tool", "assistant", "user"]
    assert server.requests[1].body["messages"][-1]["content"] == "Be quick."


async def test_a_steering_message_that_came_too_late_starts_a_run() -> None:
    go = asyncio.Event()
    slow = structs.replace(said({"content": "One."}), after=go)
    async with ModelServer([slow, DONE]) as server, working(agent(server)) as place:
        sent = await place.send("Go")
        await eventually(lambda: server.requests)
        assert await place.send("Wait!", if_busy="steer") == sent
        go.set()
        assert (await place.end(sent)).status == "completed"
        await eventually(lambda: len(server.requests) == 2)
        later = (await place.events(ev.RunQueued))[-1].run
        assert (await place.end(later)).status == "completed"
    assert [m["content"] for m in server.requests[1].body["messages"]] == ["Go", "One.", "Wait!"]


async def test_too_many_steps() -> None:
    again = said(call("look"), finish="tool_calls")

    @server_tool
    def look() -> int:
        return 1

    async with ModelServer([again] * 5) as server:
        stubborn = agent(server, tools=[look], options=OpenAIOptions(max_steps=3))
        async with working(stubborn) as place:
            run = await place.end(await place.send("Go"))
        assert len(server.requests) == 3
    assert run.error is not None
    assert run.error.code == "agent.failed"
    assert "within 3 steps" in run.error.message


@pytest.mark.parametrize("pieces", [0, 1])
async def test_stop_closes_the_models_stream_at_once(pieces: int) -> None:
    hanging = Answer(pieces=said({"content": "Once upon"}).pieces[:pieces], hangs=True)
    async with ModelServer([hanging]) as server, working(agent(server)) as place:
        sent = await place.send("Go")
        await eventually(lambda: server.requests)
        await place.submit(cmd.RunInterrupt)
        assert (await place.end(sent)).status == "cancelled"
        await eventually(lambda: server.gone == 1, within=3, what="the model was hung up on")


# --- failures


async def test_an_error_in_the_middle_fails_the_run() -> None:
    told = {"error": {"code": 400, "message": f"Token limit of {KEY} reached"}}
    pieces = [*said({"content": "Once"}).pieces[:1], f"data: {json.dumps(told)}\n\n".encode()]
    async with (
        ModelServer([Answer(pieces=pieces), DONE]) as server,
        working(agent(server)) as place,
    ):
        run = await place.end(await place.send("Go"))
        assert [m.status for m in await place.said()] == ["failed"]
        assert KEY.encode() not in await place.log()
        await place.end(await place.send("Again"))
    assert run.status == "failed"
    assert run.error == ErrorInfo("model.failed", "Token limit of … reached (400)")
    assert [m["content"] for m in server.requests[1].body["messages"]] == ["Go", "Again"]


async def test_a_failed_step_leaves_no_call_behind() -> None:
    first = said(call("look", '{"a'))
    async with (
        ModelServer([Answer(pieces=first.pieces[:1])]) as server,
        working(agent(server), tool("look")) as place,
    ):
        run = await place.end(await place.send("Go"))
        assert [c.status for c in (await place.state()).calls.values()] == ["completed"]
        assert await place.events(ev.ToolCallRequested) == []
    assert run.error == ErrorInfo("model.failed", "The model's stream ended before its answer did.")


async def test_an_http_error_fails_the_run_in_words() -> None:
    refusal = refused(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    async with ModelServer([refusal]) as server, working(agent(server)) as place:
        run = await place.end(await place.send("Go"))
        assert KEY.encode() not in await place.log()
    assert run.error is not None
    assert run.error.code == "model.failed"
    assert "refused the API key (HTTP 401)" in run.error.message


async def test_it_tries_again_before_the_first_byte() -> None:
    busy = refused(503, {}, **{"retry-after": "0"})
    async with ModelServer([busy, DONE]) as server, working(agent(server)) as place:
        assert (await place.end(await place.send("Go"))).status == "completed"
        assert len(server.requests) == 2


async def test_another_worker_goes_on_from_the_history() -> None:
    first = said(call("look"), finish="tool_calls", usage=(1, 1))
    hanging = Answer(pieces=said({"content": "Lost"}).pieces[:1], hangs=True)
    async with ModelServer([first, hanging, DONE]) as server:
        clock, lasting = ManualClock(), agent(server)
        works = Works(clock)
        place = await works.place(lasting, tool("look"))
        async with works.worker(lasting) as lost:
            sent = await place.send("Go")
            await place.answer({"look": 1})
            await eventually(lambda: len(server.requests) == 2)
            lost.cancel()
        clock.now += LeaseTimes().lease_s
        async with works.worker(lasting):
            run = await place.end(sent)
            assert (run.status, run.usage) == ("completed", Usage(21, 3))
            assert await place.parts() == [[("tool_call", "look")], [("text", "Done.")]]
    assert server.requests[2].body == server.requests[1].body


async def test_an_answer_that_was_complete_when_its_worker_was_lost_is_not_asked_for_again() -> (
    None
):
    answered = asyncio.Event()

    @as_agent(name="openai", resume="history")
    async def lost_after_its_answer(run: RunContext) -> None:
        await run.say("The answer.")
        answered.set()
        await asyncio.Event().wait()

    async with ModelServer() as server:
        clock = ManualClock()
        works = Works(clock)
        place = await works.place(lost_after_its_answer)
        async with works.worker(lost_after_its_answer) as lost:
            sent = await place.send("Go")
            await answered.wait()
            lost.cancel()
        clock.now += LeaseTimes().lease_s
        async with works.worker(agent(server)):
            assert (await place.end(sent)).status == "completed"
            assert await place.parts() == [[("text", "The answer.")]]
        assert server.requests == []


# --- what it is made of


async def test_from_the_environment() -> None:
    async with ModelServer([DONE]) as server:
        built_in = OpenAIAgent.from_environment(
            {
                "OPENAI_BASE_URL": server.url,
                "OPENAI_API_KEY": KEY,
                "OPENAI_MODEL": "m-2",
                "OPENAI_SYSTEM": "Be brief.",
            }
        )
        assert built_in.name == "openai"
        async with working(built_in) as place:
            await place.end(await place.send("Go"))
        assert server.requests[0].body["model"] == "m-2"
        assert server.requests[0].body["messages"][0]["content"] == "Be brief."
    assert OpenAIAgent.from_environment({"OPENAI_MODEL": "m"}).endpoint.place == "api.openai.com"


@pytest.mark.parametrize(
    ("environment", "remedy"),
    [
        ({}, "set OPENAI_MODEL"),
        ({"OPENAI_MODEL": "m", "OPENAI_BASE_URL": "localhost:1234"}, "check OPENAI_BASE_URL"),
        ({"OPENAI_MODEL": "m", "OPENAI_BASE_URL": "http://"}, "check OPENAI_BASE_URL"),
        ({"OPENAI_MODEL": "m", "OPENAI_BASE_URL": "http://a:port"}, "check OPENAI_BASE_URL"),
        ({"OPENAI_MODEL": "m", "OPENAI_API_KEY": "sk-1\nsk-2"}, "check OPENAI_API_KEY"),
        ({"OPENAI_MODEL": "m", "OPENAI_API_KEY": "“sk-1”"}, "check OPENAI_API_KEY"),
    ],
)
def test_settings_that_cannot_work(environment: dict[str, str], remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        OpenAIAgent.from_environment(environment)


def test_a_key_out_of_a_file_ends_with_a_line_break() -> None:
    made = OpenAIAgent.from_environment({"OPENAI_MODEL": "m", "OPENAI_API_KEY": "sk-1\r\n"})
    assert made.endpoint.api_key == "sk-1"


# --- recordings

TEXTS = (
    "azure-model-router",
    "deepseek-thinking",
    "groq-reasoning",
    "mistral-thinking",
    "openai-text",
    "openrouter-reasoning",
)
CALLS = {
    "alibaba-tool-call": "weather",
    "anthropic-compat-tool-call": "read_file",
    "deepseek-tool-call": "weather",
    "xai-tool-call": "weather",
}


@recordings.needed
@pytest.mark.parametrize("name", TEXTS)
async def test_recorded_answer(name: str) -> None:
    async with (
        ModelServer([recorded(recordings.stream(name), 97), DONE]) as server,
        working(agent(server)) as place,
    ):
        run = await place.end(await place.send("Go"))
        (parts,) = await place.parts()
        await place.end(await place.send("And?"))
    assert (run.status, run.finish_reason) == ("completed", "stop")
    assert [kind for kind, _ in parts][-1] == "text"
    assert len(parts) <= 2
    text = parts[-1][1]
    assert text.strip()
    answered = server.requests[1].body["messages"][1]
    assert answered["content"] == text
    if name == "openrouter-reasoning":
        (data,) = answered["reasoning_details"]
        assert json.dumps(data["data"]).encode() in recordings.stream(name)


@recordings.needed
@pytest.mark.parametrize("name", CALLS)
async def test_recorded_call(name: str) -> None:
    async with (
        ModelServer([recorded(recordings.stream(name), 97), DONE]) as server,
        working(agent(server), tool(CALLS[name])) as place,
    ):
        sent = await place.send("Go")
        await place.answer({CALLS[name]: "fine"})
        assert (await place.end(sent)).status == "completed"
        parts = await place.parts()
    assert parts[0][-1] == ("tool_call", CALLS[name])
    _, called, result = server.requests[1].body["messages"]
    (made,) = called["tool_calls"]
    assert f'"id":"{made["id"]}"'.encode() in recordings.stream(name)
    assert result == {"role": "tool", "tool_call_id": made["id"], "content": "fine"}
    if name == "anthropic-compat-tool-call":
        assert parts[0][0] == ("commentary", "Reading it.")
        assert called["content"] == "Reading it."
    if name in ("deepseek-tool-call", "xai-tool-call"):
        assert parts[0][0] == ("thinking", called["reasoning_content"])


@recordings.needed
async def test_recorded_error_in_the_middle() -> None:
    stream = recordings.stream("openrouter-error-mid-stream")
    async with ModelServer([recorded(stream, 97)]) as server, working(agent(server)) as place:
        run = await place.end(await place.send("Hello there"))
        (message,) = await place.said()
    assert run.error == ErrorInfo("model.failed", "Token limit reached (400)")
    assert message.status == "failed"
    assert message.usage == Usage(43, 10)


@recordings.needed
async def test_recorded_loop() -> None:
    asked = [recordings.request(f"openai-agent-loop-{n}") for n in (1, 2, 3)]
    streams = [recorded(recordings.stream(f"openai-agent-loop-{n}"), 61) for n in (1, 2, 3)]
    tools = [
        Tool(f["name"], f["parameters"], f["description"])
        for f in (tool["function"] for tool in asked[0]["tools"])
    ]
    async with ModelServer([*streams, DONE]) as server:
        looping = OpenAIAgent(
            base_url=server.url,
            model="gpt-4o",
            options=OpenAIOptions(request={"tool_choice": "required"}),
        )
        async with working(looping, *tools) as place:
            sent = await place.send(asked[0]["messages"][0]["content"])
            await place.answer({"get_country": "Mexico", "get_product_name": "Pydantic AI"})
            await place.answer({"get_weather": "sunny"})
            await place.answer({"final_result": "Final result processed."})
            run = await place.end(sent)
    assert run.status == "completed"
    assert run.usage == Usage(364 + 423 + 448 + 20, 40 + 15 + 49 + 2)
    for request, expected in zip(server.requests, asked, strict=False):
        for offered in expected["tools"]:
            offered["function"].pop("strict", None)  # of the recorded client's own
        for message in expected["messages"]:
            message.setdefault("content", None)  # strict endpoints want it (A11)
        assert request.body == expected
