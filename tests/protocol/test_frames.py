import msgspec

from protocol import frames
from protocol.state import State
from tests.support.values import DOWN, EVENTS, tag

FRAMES = {
    "welcome": {
        *("connection", "client", "principal", "heartbeat_ms", "limits", "features", "server"),
    },
    "ok": {"id"},
    "error": {"code", "message", "retryable"},
    "subscribed": {"session", "epoch", "seq", "recovered", "detail"},
    "cursor": {"session", "seq"},
    "ping": set[str](),
    "pong": set[str](),
    "auth.expiring": {"in_ms"},
    "goaway": {"reason", "reconnect_after_ms"},
}


def test_the_frames_and_what_they_always_have() -> None:
    always = {
        tag(struct): {f.encode_name for f in msgspec.structs.fields(struct) if f.required}
        for struct in DOWN
    }
    assert always == FRAMES


def test_no_frame_looks_like_an_event() -> None:
    assert not {tag(d) for d in DOWN} & {tag(e) for e in EVENTS}
    assert all("time" not in struct.__struct_fields__ for struct in frames.AnyDown.__args__)


def test_a_state_is_sent_whole() -> None:
    frame = frames.Subscribed(
        session="s_1",
        epoch="e_1",
        seq=0,
        recovered=False,
        detail="full",
        state=State(session="s_1"),
    )
    sent = msgspec.to_builtins(frame)
    assert set(sent["state"]) == set(State.__struct_fields__)
    assert sent["state"]["run"] is None
    assert sent["recovered"] is False
    assert "id" not in sent
