"""What is measured. Each scenario drives the `scripted` agent over one socket.

`tools`: from a client's result to the next request of the same agent, which is everything the
gateway adds to a tool call: the result up, stored and to the agent, the next call stored and down.
`stream`: many sessions stream at once; the latency is from an event's `time` to its arrival.
"""

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import websockets.asyncio.client as ws
from websockets.typing import Subprotocol

from loadtest.report import Result, percentiles
from loadtest.target import Target

Frame = dict[str, Any]
Scenario = Callable[..., Awaitable[Result]]
END = ("run.completed", "run.failed", "run.cancelled")


async def _begin(socket: ws.ClientConnection, session: str, steps: list[Frame]) -> None:
    tool = {"name": "noop", "parameters": {"type": "object"}, "idempotent": True}
    about = {"session": session}
    frames: list[Frame] = [
        {
            "type": "session.create",
            "id": f"c_{session}",
            "agent": "scripted",
            "tools": [tool],
            **about,
        },
        {
            "type": "session.subscribe",
            "id": f"s_{session}",
            "detail": "full",
            "tools": ["*"],
            **about,
        },
        {"type": "message.send", "id": f"m_{session}", "content": json.dumps(steps), **about},
    ]
    await socket.send("\n".join(json.dumps(f) for f in frames))


def _connect(target: Target) -> ws.connect:
    protocols = [Subprotocol("agent-gateway.v1")]
    return ws.connect(
        target.url, subprotocols=protocols, compression=None, max_size=None, proxy=None
    )


async def tools(target: Target, *, count: int, sessions: int) -> Result:
    """Tool calls through the client, one after the other in each session."""
    sent: dict[str, float] = {}
    latencies: list[float] = []
    events, left = 0, sessions
    async with _connect(target) as socket:
        await socket.send('{"type":"hello","client":"load"}')
        call = {"call_tool": {"name": "noop", "arguments": {"n": 1}}}
        cpu, began = target.cpu_seconds(), time.perf_counter()
        for _ in range(sessions):
            await _begin(socket, f"s_{secrets.token_hex(6)}", [{"repeat": count, "steps": [call]}])
        while left:
            for line in str(await socket.recv()).split("\n"):
                frame: Frame = json.loads(line)
                events += "time" in frame
                if frame["type"] == "tool_call.requested":
                    session = frame["session"]
                    if session in sent:
                        latencies.append(time.perf_counter() - sent[session])
                    about = {"session": session, "call": frame["call"]}
                    result = {"type": "tool.result", "id": frame["call"], "output": 1, **about}
                    sent[session] = time.perf_counter()
                    await socket.send(json.dumps(result))
                elif frame["type"] == "error":
                    raise SystemExit(f"The gateway refused a frame: {frame}")
                left -= frame["type"] in END
        seconds = time.perf_counter() - began
        cost = (target.cpu_seconds() - cpu) / events * 1e6
    return Result("tools", target.broker, events, seconds, cost, percentiles(latencies))


async def stream(target: Target, *, count: int, sessions: int) -> Result:
    """`count` deltas in each session, one every 20 ms, all sessions at once."""
    latencies: list[float] = []
    sessions = min(sessions, 64)  # as many as one connection may subscribe to
    events, left = 0, sessions
    step = {"say": "token " * count, "chunk": 6, "interval_ms": 20}
    async with _connect(target) as socket:
        await socket.send('{"type":"hello","client":"load"}')
        cpu, began = target.cpu_seconds(), time.perf_counter()
        for _ in range(sessions):
            await _begin(socket, f"s_{secrets.token_hex(6)}", [step])
        while left:
            message = str(await socket.recv())
            now = time.time()
            for line in message.split("\n"):
                frame: Frame = json.loads(line)
                if "time" in frame:
                    events += 1
                    if frame["type"] == "message.delta":
                        stamp = datetime.fromisoformat(frame["time"]).timestamp()
                        latencies.append(max(0.0, now - stamp))
                left -= frame["type"] in END
        seconds = time.perf_counter() - began
        cost = (target.cpu_seconds() - cpu) / events * 1e6
    return Result("stream", target.broker, events, seconds, cost, percentiles(latencies))


SCENARIOS: dict[str, Scenario] = {"tools": tools, "stream": stream}
