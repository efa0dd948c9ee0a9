"""`echo`: the whole way of a run, from a message to its end."""

from gateway.agents.echo import echo
from tests.runtime.stage import Stage, shown, types


async def test_echo_streams_the_message_back() -> None:
    stage = Stage([echo])
    await stage.create("echo")
    async with stage.worker():
        await stage.send("Hello, dear world of echoes! ä€𝄞")
        await stage.ended()
    assert shown(await stage.events()) == [
        {"type": "session.created", "agent": "echo"},
        {
            "type": "message.added",
            "message": "m_1",
            "role": "user",
            "parts": [{"kind": "text", "text": "Hello, dear world of echoes! ä€𝄞"}],
            "by": "dev",
        },
        {"type": "run.queued", "run": "r_1", "client": "tab_A", "trigger": "m_1"},
        {"type": "run.started", "run": "r_1"},
        {"type": "message.started", "message": "m_2", "run": "r_1"},
        {
            "type": "message.delta",
            "message": "m_2",
            "part": 0,
            "kind": "text",
            "delta": "Hello, dear world of echoes! ä€𝄞",
        },
        {"type": "message.completed", "message": "m_2", "status": "complete"},
        {"type": "run.completed", "run": "r_1"},
    ]


async def test_echo_says_its_input() -> None:
    stage = Stage([echo])
    await stage.create("echo")
    async with stage.worker():
        await stage.command("run.start", input="Hi")
        state = await stage.ended()
    assert [p.text for m in state.messages for p in m.parts] == ["Hi"]  # pyright: ignore[reportAttributeAccessIssue] - text parts


async def test_what_an_earlier_attempt_said_is_not_said_again() -> None:
    stage = Stage([echo])
    await stage.create("echo")
    await stage.send("Hi")
    stage.broker.down_after = b'"message.completed"'
    async with stage.lost_worker():
        await stage.until(lambda s: s.messages[-1].status == "complete" and s.messages[1:])
    stage.broker.down_after, stage.broker.down = b"\0", False
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.ended()
    assert types(await stage.events())[4:] == [
        "message.started",
        "message.delta",
        "message.completed",
        "run.retrying",
        "run.completed",
    ]
