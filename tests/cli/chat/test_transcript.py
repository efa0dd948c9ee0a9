"""What is shown of a session, whatever way its state comes about: everything, once, in order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.chat.items import Called, Item, Note, Remarked, Said, Thought, Typed
from gateway.cli.chat.transcript import Transcript
from protocol import events as ev
from protocol.state import State, copy
from protocol.values import CommentaryPart, ErrorInfo, FilePart, TextPart

TIME = "2026-01-01T00:00:00.000Z"


def on(event: type[ev.Event], /, **fields: Any) -> Any:
    return event(time=TIME, **fields)


def delta(text: str, part: int = 0, kind: str = "text", message: str = "m_2") -> ev.Event:
    return on(ev.MessageDelta, message=message, part=part, kind=kind, delta=text)


QUESTION = [
    on(ev.SessionCreated, agent="echo"),
    on(ev.MessageAdded, message="m_1", role="user", parts=[TextPart("Hi")], by="dev"),
    on(ev.RunQueued, run="r_1", trigger="m_1"),
    on(ev.RunStarted, run="r_1"),
]
ANSWER = [
    on(ev.MessageStarted, message="m_2", run="r_1"),
    delta("Let me ", 0, "thinking"),
    delta("see.", 0, "thinking"),
    delta("Aside.", 1, "commentary"),
    delta("One\n\nTw", 2),
    delta("o", 2),
    on(ev.ToolCallStarted, message="m_2", part=3, call="c_1", name="read", target="client"),
    on(ev.MessageCompleted, message="m_2", status="complete"),
    on(
        ev.ToolCallRequested, call="c_1", run="r_1", message="m_2", name="read", target="client",
        arguments={"a": 1}, deadline=TIME,
    ),
    on(ev.ToolCallCompleted, call="c_1", output=2),
    on(ev.MessageStarted, message="m_3", run="r_1"),
    delta("Three", message="m_3"),
    on(ev.MessageCompleted, message="m_3", status="complete"),
    on(ev.RunCompleted, run="r_1"),
]  # fmt: skip
ALL = [*QUESTION, *ANSWER]


class Session:
    """A state that grows by events, and a transcript that follows it."""

    def __init__(self, **options: Any) -> None:
        self.state = State(session="s_1", messages=[], queue=[], calls={}, approvals={})
        self.transcript = Transcript(me="dev", **options)

    def put(self, *events: ev.Event) -> None:
        """Events that nobody has looked at."""
        for event in events:
            self.state.apply(event, self.state.seq + 1)

    def see(self, *events: ev.Event) -> list[Item]:
        """What is shown when they are looked at one after the other."""
        items: list[Item] = []
        for event in events:
            self.put(event)
            items += [*self.transcript.update(self.state), *self.transcript.heard(event)]
        return items


def words(items: list[Item]) -> list[str]:
    """Each item in short; pieces of one answer joined."""
    found: list[str] = []
    for item in items:
        match item:
            case Called(call=call):
                found.append(f"called {call.name} {call.output}")
            case Said(text=text) if found and found[-1].startswith("Said "):
                found[-1] += text
            case Typed(text=text) | Said(text=text) | Thought(text=text) | Remarked(text=text):
                found.append(f"{type(item).__name__} {text}")
            case Note(text=text):
                found.append(f"Note {text}")
            case _:
                raise AssertionError(f"a transcript asks nothing: {item}")
    return found


EVERYTHING = [
    "Typed Hi",
    "Thought Let me see.",
    "Remarked Aside.",
    "Said One\n\nTwo",
    "called read 2",
    "Said Three",
]


def test_everything_once_in_order() -> None:
    assert words(Session().see(*ALL)) == EVERYTHING


@pytest.mark.parametrize("cut", range(len(ALL)))
def test_a_state_in_place_of_events_shows_the_rest(cut: int) -> None:
    session = Session()
    items = session.see(*ALL[:cut])
    session.put(*ALL[cut:])
    session.state = copy(session.state)
    assert words([*items, *session.transcript.reset(session.state)]) == EVERYTHING
    assert session.transcript.reset(session.state) == []


@given(st.sets(st.integers(0, len(ALL))))
def test_it_does_not_matter_when_one_looks(looks: set[int]) -> None:
    session, items = Session(), list[Item]()
    for at, event in enumerate(ALL):
        session.put(event)
        if at in looks:
            items += session.transcript.update(session.state)
    assert words([*items, *session.transcript.update(session.state)]) == EVERYTHING


def test_without_streaming_a_text_waits_for_its_message() -> None:
    session = Session(stream=False)
    events = [*QUESTION, *ANSWER[:6]]
    assert words(session.see(*events)) == EVERYTHING[:3]
    live = session.transcript.live(session.state)
    assert (live.text, live.hidden) == ("", len("One\n\nTwo"))
    assert words(session.see(*ANSWER[6:])) == EVERYTHING[3:]


def test_what_is_going_on() -> None:
    session = Session()
    session.see(*QUESTION)
    assert session.transcript.live(session.state).busy
    session.see(*ANSWER[:2])
    assert session.transcript.live(session.state).thought == "Let me "
    session.see(*ANSWER[2:6])
    assert session.transcript.live(session.state).text == "Two"
    session.see(*ANSWER[6:9])
    live = session.transcript.live(session.state)
    assert (live.text, [call.name for call in live.calls]) == ("", ["read"])
    session.see(*ANSWER[9:])
    assert not session.transcript.live(session.state).busy


def test_activity_and_progress() -> None:
    session = Session()
    session.see(*QUESTION[:3])
    session.put(on(ev.RunActivity, run="r_1", activity="waiting_for_worker"))
    assert session.transcript.live(session.state).activity == "no worker has this agent yet"
    session.put(QUESTION[3], on(ev.RunActivity, run="r_1", activity="calling_tool"))
    session.put(on(ev.RunProgress, run="r_1", current=1, total=3, text="pages"))
    assert session.transcript.live(session.state).activity == "calling tool 1/3 pages"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (on(ev.RunFailed, run="r_1", error=ErrorInfo("x", "Oh.")), "Note The run failed: Oh."),
        (on(ev.RunCancelled, run="r_1", by="ann", reason="Late"), "Note Stopped by ann: Late."),
        (on(ev.RunCancelled, run="r_1", by="dev"), "Note Stopped."),
        (on(ev.RunCompleted, run="r_1", output={"a": 1}), 'Note Output: {"a":1}'),
    ],
)
def test_the_end_of_a_run_is_told_once(event: ev.Event, text: str) -> None:
    session = Session()
    assert words(session.see(*QUESTION, event)) == ["Typed Hi", text]
    assert session.transcript.reset(session.state) == []
    unseen = Session()
    unseen.put(*QUESTION, event)
    told = words(unseen.transcript.reset(unseen.state))[1]
    assert told.split()[:2] == text.split()[:2] or told == "Note Stopped."


def test_an_answer_that_is_withdrawn() -> None:
    session = Session()
    session.see(*QUESTION, *ANSWER[:5])
    discarded = on(ev.MessageCompleted, message="m_2", status="discarded")
    again = [on(ev.MessageStarted, message="m_4", run="r_1"), delta("One", message="m_4")]
    completed = on(ev.MessageCompleted, message="m_4", status="complete")
    told, said = words(session.see(discarded, *again, completed))
    assert "begins again" in told
    assert said == "Said One"


def test_a_text_that_becomes_commentary_is_not_said_twice() -> None:
    session = Session()
    session.see(*QUESTION, ANSWER[0], delta("One\n\nTwo"))
    remark = CommentaryPart("One\n\nTwo")
    from_text = on(
        ev.MessagePart, message="m_2", part=0, content=remark
    )  # fmt: skip
    items = session.see(from_text, on(ev.MessageCompleted, message="m_2", status="complete"))
    assert words(items) == ["Remarked Two"]


def test_one_s_own_message_is_on_the_screen_already() -> None:
    session = Session()
    session.transcript.typed("m_1")
    assert session.see(*QUESTION) == []


def test_who_wrote_is_said_of_others_only() -> None:
    session = Session()
    other = on(ev.MessageAdded, message="m_9", role="user", parts=[TextPart("Ho")], by="ann")
    assert session.see(*QUESTION[:2], other) == [Typed("Hi"), Typed("Ho", by="ann")]


def test_the_last_messages_of_a_session() -> None:
    session = Session()
    session.put(*ALL)
    assert words(session.transcript.begin(session.state, 1)) == [
        "Note (2 earlier messages)",
        "Said Three",
    ]
    assert session.transcript.reset(session.state) == []


def test_a_session_that_is_resumed_in_mid_answer() -> None:
    session = Session()
    session.put(*QUESTION, *ANSWER[:5])
    assert words(session.transcript.begin(session.state, 10)) == [
        "Typed Hi", "Thought Let me see.", "Remarked Aside.", "Said One\n\n",
    ]  # fmt: skip
    assert words(session.see(*ANSWER[5:])) == ["Said Two", "called read 2", "Said Three"]


def test_decisions_files_and_logs() -> None:
    session = Session()
    asked = on(ev.ApprovalRequested, approval="ap_1", run="r_1", title="Sure?", deadline=TIME)
    decided = on(ev.ApprovalResolved, approval="ap_1", decision="deny", by="ann", reason="No")
    url = f"data:text/plain,{'x' * 100}"
    file = on(
        ev.MessageAdded, message="m_5", role="assistant", run="r_1",
        parts=[FilePart(url, "text/plain", "a.txt")],
    )  # fmt: skip
    log = on(ev.RunLog, run="r_1", level="info", text="Hm")
    items = session.see(*QUESTION, asked, decided, file, log)
    assert words(items)[1:3] == ["Note Denied by ann: Sure? (No)", f"Note [file a.txt] {url[:60]}…"]
    assert words(items)[3] == "Note info: Hm"
    assert session.transcript.reset(session.state) == []
