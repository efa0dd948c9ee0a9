"""The recording client's page is held against the log, however much of it the page was given."""

import json
from typing import Any

import msgspec
import pytest

from protocol.state import State, newest
from tests.faults.clients import MOST_MESSAGES, Client
from tests.faults.record import Log
from tests.faults.sightings import folded

TIME = "2026-01-01T00:00:00.000Z"


def body(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, "time": TIME, **fields}).encode()


def conversation(messages: int) -> Log:
    """A session with so many messages of its user."""
    text = [{"kind": "text", "text": "Hi"}]
    bodies = [body("session.created", agent="echo")]
    bodies += [
        body("message.added", message=f"m_{n}", role="user", parts=text) for n in range(messages)
    ]
    return Log("s", "e", bodies)


def page(state: State) -> Client:
    client = Client("ws://nowhere", client="tab")
    # a page's state is its own, as it is once it came over the wire
    client.states["s"] = msgspec.json.decode(msgspec.json.encode(state), type=State)
    return client


@pytest.mark.parametrize("given_at", [0, 60, MOST_MESSAGES + 1, 131, 151])
def test_a_page_that_followed_and_one_that_was_given_the_state(given_at: int) -> None:
    log = conversation(150)
    client = page(newest(folded(log, given_at)))
    for seq in range(given_at + 1, log.head + 1):
        frame = json.loads(log.bodies[seq - 1])
        client._wanted["s"] = {}
        client._event({**frame, "session": "s", "seq": seq}, log.bodies[seq - 1].decode())
    client.assert_folded(log)


def test_a_page_that_lost_a_message_is_caught() -> None:
    log = conversation(150)
    state = newest(folded(log, log.head))
    del state.messages[50]
    with pytest.raises(AssertionError, match="not stored"):
        page(state).assert_folded(log)


def test_a_page_that_shows_another_text_is_caught() -> None:
    log = conversation(MOST_MESSAGES + 3)
    other = Log("s", "e", [*log.bodies[:-1], log.bodies[-1].replace(b"Hi", b"Ho")])
    with pytest.raises(AssertionError, match="not stored"):
        page(folded(other, other.head)).assert_folded(log)
