import msgspec

from protocol import commands as cmd
from tests.support.values import UP, tag

FRAMES = {
    "hello": set[str](),
    "auth.refresh": {"id", "token"},
    "ping": set[str](),
    "pong": set[str](),
    "session.create": {"id", "agent"},
    "session.subscribe": {"id", "session"},
    "session.unsubscribe": {"id", "session"},
    "session.update": {"id", "session"},
    "session.delete": {"id", "session"},
    "session.list": {"id"},
    "session.messages": {"id", "session"},
    "message.send": {"id", "session", "content"},
    "run.start": {"id", "session"},
    "run.interrupt": {"id", "session"},
    "tool.claim": {"id", "session", "call"},
    "tool.renew": {"id", "session", "call"},
    "tool.result": {"id", "session", "call"},
    "approval.respond": {"id", "session", "approval", "decision"},
    "ack": {"session", "seq"},
}


def test_the_frames_and_what_they_need() -> None:
    needed = {
        tag(struct): {f.encode_name for f in msgspec.structs.fields(struct) if f.required}
        for struct in UP
    }
    assert needed == FRAMES


def test_defaults() -> None:
    subscribe = cmd.SessionSubscribe(id="k", session="s")
    assert subscribe.messages == 100
    assert subscribe.window is None
    send = cmd.MessageSend(id="k", session="s", content="a")
    assert send.if_busy == "reject"
    assert send.start
    assert cmd.RunStart(id="k", session="s").if_busy == "reject"
    assert cmd.SessionList(id="k").limit == 50


def test_every_command_to_a_session_has_an_id() -> None:
    for struct in cmd.AnySessionCommand.__args__:
        assert issubclass(struct, cmd.Command)
    assert set(cmd.ALWAYS_DECIDED_ANEW) < set(cmd.DecidedCommand.__args__)


def test_frames_are_values() -> None:
    assert all(struct.__struct_config__.frozen for struct in cmd.AnyUp.__args__)
