"""The recorded agent loop through a real gateway: a model over HTTP, a page over the WebSocket."""

from typing import Any

from tests.conftest import StartGateway
from tests.support import recordings
from tests.support.model_server import ModelServer, recorded, said
from tests.support.wire import Tab

ANSWERS = {
    "get_country": "Mexico",
    "get_product_name": "Pydantic AI",
    "get_weather": "sunny",
    "final_result": "Final result processed.",
}
KEY = "sk-canary-5566778899"


def client_tools(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The recorded functions, as a page would declare them."""
    functions = [tool["function"] for tool in request["tools"]]
    return [{k: f[k] for k in ("name", "description", "parameters")} for f in functions]


@recordings.needed
async def test_the_recorded_loop_with_tools_in_the_page(gateway: StartGateway) -> None:
    asked = [recordings.request(f"openai-agent-loop-{n}") for n in (1, 2, 3)]
    streams = [recorded(recordings.stream(f"openai-agent-loop-{n}"), 61) for n in (1, 2, 3)]
    async with ModelServer([*streams, said({"content": "All done."})]) as model:
        process = await gateway(
            "--agents",
            "openai",
            environment={
                "OPENAI_BASE_URL": model.url,
                "OPENAI_API_KEY": KEY,
                "OPENAI_MODEL": "gpt-4o",
            },
        )
        async with Tab(process.url) as tab:
            session = await tab.create("openai", tools=client_tools(asked[0]))
            await tab.subscribe(session, detail="full", tools=["*"])
            ok = await tab.message(session, asked[0]["messages"][0]["content"])
            for name, output in ANSWERS.items():
                requested = await tab.wait_for("tool_call.requested", session=session, name=name)
                await tab.answer(requested, output)
            end = await tab.run_end(session, ok["run"])
            assert (end["type"], end["finish_reason"]) == ("run.completed", "stop")
            assert end["usage"] == {"input_tokens": 1235, "output_tokens": 104}
            assert tab.text(session) == "All done."
            tab.assert_dense(session)
            started = [e for e in tab.events(session) if e["type"] == "tool_call.started"]
            assert [e["name"] for e in started] == list(ANSWERS)
            assert "provider" not in str(tab.events(session))
            assert "call_3rqTYrA6H21AYUaRGP4F66oq" not in str(tab.events(session))
        assert KEY not in process.output()
    assert len(model.requests) == 4
    for request, expected in zip(model.requests, asked, strict=False):
        for tool in expected["tools"]:
            tool["function"].pop("strict", None)  # of the recorded client's own
        for message in expected["messages"]:
            message.setdefault("content", None)  # strict endpoints want it (A11)
        assert request.body["messages"] == expected["messages"]
        assert request.body["tools"] == expected["tools"]
