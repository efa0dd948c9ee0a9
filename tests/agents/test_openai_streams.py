"""Streams that public reports say real endpoints send, each with its right answer."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from gateway.agents.openai import OpenAIAgent, OpenAIOptions
from protocol import commands as cmd
from protocol import events as ev
from protocol.detail import View
from protocol.values import Tool
from tests.agents.driving import Ended, Place, working
from tests.support import streams
from tests.support.waiting import eventually

ONE_STRING = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = (Tool("get_weather", ONE_STRING), Tool("get_time", {"type": "object", "properties": {}}))


async def _played(place: Place, name: str) -> Ended:
    """The end of the run; every call of a page tool is answered meanwhile."""
    run = await place.send(f"case:{name}")
    ended: list[Ended] = []

    async def over() -> bool:
        state = await place.state()
        for call in state.calls.values():
            if call.status == "requested" and call.target == "client":
                await place.submit(cmd.ToolResult, call=call.id, output={"ok": True})
        return state.live_run is None and not state.queue

    await eventually(over, within=20, what=f"the end of case {name}")
    ended.append(await place.end(run))
    return ended[0]


async def _seen(place: Place) -> dict[str, Any]:
    """What people see of the session at detail `answer`."""
    return msgspec.to_builtins(View("answer").state(await place.state()))


def _texts(state: Mapping[str, Any], kind: str) -> str:
    parts = [p for m in state["messages"] if m["role"] == "assistant" for p in m["parts"]]
    return "".join(p["text"] for p in parts if p["kind"] == kind)


@streams.needed
@pytest.mark.parametrize("case", streams.CASES, ids=[c["name"] for c in streams.CASES])
async def test_streams_of_endpoints(case: dict[str, Any]) -> None:
    want = case["want"]
    async with streams.StreamServer(case["replies"]) as server:
        options = OpenAIOptions(retries=0, max_steps=6)
        agent = OpenAIAgent(base_url=server.url, api_key="k", model="m-1", options=options)
        async with working(agent, *TOOLS) as place:
            ended = await _played(place, case["name"])
            seen = await _seen(place)
            whole = msgspec.to_builtins(await place.state())
            requested = await place.events(ev.ToolCallRequested)
    text = _texts(seen, "text")
    problems: list[str] = []

    def expect(what: str, got: Any, right: Any) -> None:
        if got != right:
            problems.append(f"{what}: {got!r}, not {right!r}")

    if "end" in want:
        expect("end", ended.status, want["end"])
    if "text" in want:
        expect("text", text.strip() if want.get("strip") else text, want["text"])
    if "calls" in want:
        expect("calls", [[r.name, r.arguments] for r in requested], want["calls"])
    if "finish" in want:
        expect("finish", ended.finish_reason, want["finish"])
    if "usage" in want:
        (right,) = want["usage"]
        expect("usage", ended.usage and [*msgspec.structs.astuple(ended.usage)][:2], right)
    if "says" in want:
        said = "" if ended.error is None else ended.error.message
        expect("says", want["says"] in said and want["says"], want["says"])
    if want.get("think"):
        expect("thinking", bool(_texts(whole, "thinking").strip()), True)
    if "part" in want:
        kinds = {p["kind"] for m in whole["messages"] for p in m["parts"]}
        expect("part", want["part"] in kinds, True)
    if "maxreq" in want:
        expect("requests", server.requests <= want["maxreq"], True)
    if want.get("loop"):
        errors = [c for c in whole["calls"].values() if c.get("error")]
        expect("a broken call is told", len(errors) > 0 or bool(requested), True)
    assert not problems, "; ".join(problems)
