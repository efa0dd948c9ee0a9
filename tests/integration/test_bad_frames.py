"""Every kind of bad frame, made from the protocol's own tables: an error, and life goes on."""

import json
import typing
from typing import Any

import msgspec
import pytest

from protocol.commands import AnyUp
from tests.conftest import StartGateway
from tests.support.wire import Frame, Tab

NO_ANSWER = {"ping", "pong", "ack"}


def up_types() -> list[type[msgspec.Struct]]:
    return list(typing.get_args(AnyUp))


def good(frame: type[msgspec.Struct]) -> Frame:
    """A frame with its required fields only."""
    samples: dict[str, Any] = {
        "id": "k_bad",
        "session": "s_bad",
        "token": "t",
        "agent": "scripted",
        "content": "hi",
        "call": "c_1",
        "approval": "ap_1",
        "decision": "deny",
        "seq": 0,
    }
    fields = [f.name for f in msgspec.structs.fields(frame) if f.required]
    return {"type": frame.__struct_config__.tag, **{name: samples[name] for name in fields}}


def bad_frames() -> list[tuple[str, Frame, str]]:
    """(what is wrong, frame, path) for every field of every frame up."""
    cases: list[tuple[str, Frame, str]] = []
    for frame in up_types():
        sample = good(frame)
        name = str(sample["type"])
        for field in msgspec.structs.fields(frame):
            path = f"$.{field.name}"
            if field.required:
                without = {k: v for k, v in sample.items() if k != field.name}
                cases.append((f"{name} without {field.name}", without, path))
            if field.type is not Any:
                cases.append((f"{name} with odd {field.name}", {**sample, field.name: 1.5}, path))
            if field.name in ("id", "session", "call", "approval"):
                for text in ("a b", "a\r\n", "{x}", "../x", "*", "é", "x" * 65, ""):
                    odd = {**sample, field.name: text}
                    cases.append((f"{name} with {field.name} {text!r}", odd, path))
    return cases


def test_there_is_a_case_for_every_frame() -> None:
    named = {str(frame["type"]) for _, frame, _ in bad_frames()}
    assert named | {"ping", "pong"} == {str(t.__struct_config__.tag) for t in up_types()}


async def test_every_bad_field_is_named_and_nothing_else_is_disturbed(
    gateway: StartGateway,
) -> None:
    server = await gateway("--agents", "scripted")
    async with Tab(server.url) as other:
        session = await other.create()
        await other.subscribe(session, detail="full")
        run = (await other.script(session, {"say": "x" * 50_000, "interval_ms": 10}))["run"]
        cases = bad_frames()
        for start in range(0, len(cases), 9):
            async with Tab(server.url) as tab:
                for about, frame, path in cases[start : start + 9]:
                    since = tab.mark()
                    await tab.send(frame)
                    error = await tab.wait_for("error", since=since)
                    assert error["code"] == "frame.malformed", about
                    assert error["details"]["path"] == path, (about, error)
                    assert error["retryable"] is False
                    if path != "$.id" and "id" in frame:
                        assert error["id"] == frame["id"], about
                await tab.send({"type": "ping"})
                await tab.wait_for("pong")
        await other.must({"type": "run.interrupt", "session": session})
        await other.run_end(session, run)
        other.assert_dense(session)


@pytest.mark.parametrize(
    "message",
    [
        b"\x00\x01binary",
        '{"type":"ping"',
        "",
        "[]",
        "NaN",
        '{"id":"k"}',
        '{"type":"run.start","id":"k","session":"s","input":NaN}',
        '{"type":"run.start","id":"k","session":"s","input":1e999}',
        '{"type":"run.start","id":"k","session":"s","input":' + "9" * 30 + "}",
        '{"type":"run.start","id":"k","session":"s","input":' + "[" * 900 + "]" * 900 + "}",
        '{"type":"run.start","id":"k","session":"s","x":' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"type":"run.start","id":"k","session":"s","input":"\\ud800"}',
        '\ufeff{"type":"ping"}',
        '{"type":"ping"} trailing',
    ],
)
async def test_what_is_no_frame_at_all(bad_frame_server: str, message: str | bytes) -> None:
    async with Tab(bad_frame_server) as tab:
        await tab.send_raw(message)
        error = await tab.wait_for("error")
        assert error["code"] == "frame.malformed"
        await tab.send({"type": "ping"})
        await tab.wait_for("pong")


async def test_ten_malformed_frames_in_a_minute_are_abuse(bad_frame_server: str) -> None:
    async with Tab(bad_frame_server) as tab:
        await tab.send(*[{"type": "session.fork", "id": f"k_{i}"} for i in range(30)])
        await tab.wait_for("error", code="frame.unknown_type", id="k_29")  # costs nothing
        await tab.send_raw("\n".join(["x"] * 12))
        assert await tab.wait_closed() == 4400


async def test_frames_before_hello_and_a_second_hello(bad_frame_server: str) -> None:
    async with Tab(bad_frame_server, hello=False) as tab:
        await tab.send({"type": "session.list", "id": "k_early"})
        assert (await tab.wait_for("error"))["code"] == "frame.malformed"
        await tab.send({"type": "hello"})
        await tab.wait_for("welcome")
        since = tab.mark()
        await tab.send({"type": "hello"})
        assert (await tab.wait_for("error", since=since))["code"] == "frame.malformed"
        assert json.dumps((await tab.must({"type": "session.list"}))["sessions"])


@pytest.fixture
async def bad_frame_server(gateway: StartGateway) -> str:
    return (await gateway("--agents", "scripted")).url
