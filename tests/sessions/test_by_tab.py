"""What tabs and people do about calls and approvals: who may, when, and what follows."""

import pytest

from gateway.sessions import inputs
from protocol import commands as cmd
from protocol.errors import ProtocolError
from protocol.values import ErrorInfo, FilePart, Progress, Tool
from tests.sessions.bench import ASK, READ, WRITE, Bench, e, wire


def offered(tool: Tool, *, client: str = "tab_A") -> Bench:
    """A bench whose run has called a tool of the page."""
    bench = Bench(tool)
    bench.send(client=client)
    bench.claim_run()
    bench.calls((tool.name, {"x": 1}))
    return bench


def commands(bench: Bench, call: str) -> list[cmd.DecidedCommand]:
    return [bench.claiming(call), bench.renewing(call), bench.resulting(call)]


# --- refusals


def test_a_call_nobody_knows() -> None:
    bench = offered(READ)
    for command in commands(bench, "c_9"):
        assert bench.refused(command) == "tool.unknown"


def test_a_server_call_is_not_for_tabs() -> None:
    bench = Bench()
    bench.running()
    bench.calls(("search", {}), target="server")
    for command in commands(bench, "c_1"):
        assert bench.refused(command) == "tool.unknown"


def test_a_call_whose_arguments_still_stream() -> None:
    bench = Bench(READ)
    bench.running()
    bench.message()
    bench.step(inputs.StartCall(call="c_1", part=0, name="read_heading", target="client"))
    for command in commands(bench, "c_1"):
        assert bench.refused(command) == "tool.unknown"


def test_a_closed_call() -> None:
    bench = offered(READ)
    bench.result("c_1", output=1)
    for command in commands(bench, "c_1"):
        assert bench.refused(command) == "tool.closed"


def test_another_tab_while_the_first_may_still_claim() -> None:
    bench = offered(READ)
    for command in commands(bench, "c_1"):
        assert bench.refused(command, "tab_B") == "tool.held"


def test_another_tab_while_the_call_is_held() -> None:
    bench = offered(READ, client="")
    bench.claim("c_1", "tab_B")
    for command in commands(bench, "c_1"):
        assert bench.refused(command, "tab_A") == "tool.held"


# --- who may


def test_a_run_of_no_tab_is_offered_to_all() -> None:
    bench = offered(READ, client="")
    assert bench.state.calls["c_1"].client is None
    assert bench.claim("c_1", "tab_Z").ok == {"lease_ms": 15000}


def test_a_caller_without_a_client_id_has_a_name_too() -> None:
    bench = offered(READ, client="")
    claimed = bench.claim("c_1", "")
    assert wire(claimed.events)[0]["client"] == "http"
    assert bench.refused(bench.claiming("c_1"), "tab_A") == "tool.held"
    assert bench.claim("c_1", "").events == []


def test_a_repeated_claim_of_the_holder_is_granted() -> None:
    bench = offered(READ)
    bench.claim("c_1")
    again = bench.claim("c_1", progress=Progress(1, 2))
    assert again.ok == {"lease_ms": 15000}
    assert wire(again.events) == [e("tool_call.progress", call="c_1", current=1, total=2)]


def test_a_claim_repeated_late_renews() -> None:
    """The tab counts its lease from the answer; what it is told must be true."""
    bench = offered(READ)
    bench.claim("c_1")
    bench.clock.pass_(8)
    again = bench.claim("c_1")
    assert again.ok == {"lease_ms": 15000}
    (event,) = wire(again.events)
    assert event["type"] == "tool_call.claimed"
    bench.clock.pass_(14)
    assert bench.refused(bench.claiming("c_1"), "tab_B") == "tool.held"


def test_a_renewal_of_nobody_is_a_claim() -> None:
    bench = offered(READ)
    assert wire(bench.command(bench.renewing("c_1")).events)[0]["type"] == "tool_call.claimed"


def test_a_result_without_a_claim() -> None:
    bench = offered(READ)
    assert wire(bench.result("c_1").events) == [e("tool_call.completed", call="c_1")]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "//x", ""])
def test_a_file_of_a_result_is_where_files_may_be(url: str) -> None:
    bench = offered(READ)
    files = [FilePart("data:,x", "text/plain"), FilePart(url, "text/html")]
    with pytest.raises(ProtocolError) as refused:
        bench.result("c_1", files=files)
    assert (refused.value.code, refused.value.details) == (
        "frame.malformed",
        {"path": "$.files[1].url"},
    )


def test_an_error_and_files_are_a_result() -> None:
    bench = offered(READ)
    file = FilePart("https://x/y.png", "image/png")
    done = bench.result(
        "c_1", output="ignored", error=ErrorInfo("tool.failed", "No heading."), files=[file]
    )
    assert wire(done.events) == [
        e(
            "tool_call.completed",
            call="c_1",
            error={"code": "tool.failed", "message": "No heading."},
            files=[{"kind": "file", "url": "https://x/y.png", "media_type": "image/png"}],
        )
    ]


def test_one_of_two_results_wakes_the_run_and_shortens_the_wait() -> None:
    bench = Bench(READ)
    bench.running()
    bench.calls(("read_heading", 1), ("read_heading", 2))
    assert bench.state.run.on == ["c_1", "c_2"]
    assert bench.result("c_1").claimable_at == bench.clock()
    assert (bench.state.run.status, bench.state.run.on) == ("waiting", ["c_2"])
    bench.result("c_2")
    assert (bench.state.run.status, bench.state.run.on) == ("running", None)


# --- time goes first


def test_a_late_timer_changes_no_answer() -> None:
    bench = offered(READ)
    bench.clock.pass_(15)
    claimed = bench.claim("c_1", "tab_B")
    assert [x["type"] for x in wire(claimed.events)] == [
        "tool_call.released",
        "tool_call.claimed",
    ]
    bench.clock.pass_(105)
    assert bench.refused(bench.resulting("c_1"), "tab_B") == "tool.closed"


def test_the_last_holder_of_a_tool_that_is_not_idempotent() -> None:
    bench = offered(WRITE)
    bench.claim("c_1")
    bench.clock.pass_(15)
    bench.tick()
    for command in commands(bench, "c_1"):
        assert bench.refused(command, "tab_B") == "tool.held"
    assert wire(bench.claim("c_1").events)[0]["type"] == "tool_call.claimed"
    bench.clock.pass_(15)
    assert wire(bench.result("c_1", output=1).events) == [
        e("tool_call.released", call="c_1", reason="lease_expired"),
        e("tool_call.completed", call="c_1", output=1),
    ]


def test_after_its_grace_the_outcome_is_unknown() -> None:
    bench = offered(WRITE)
    bench.claim("c_1")
    bench.clock.pass_(15)
    bench.tick()
    bench.clock.pass_(15)
    assert bench.refused(bench.resulting("c_1")) == "tool.closed"
    assert wire(bench.tick().events)[0]["error"]["code"] == "tool.outcome_unknown"


def test_the_first_of_two_results_of_an_idempotent_tool_wins() -> None:
    bench = offered(READ)
    bench.claim("c_1")
    bench.clock.pass_(15)
    bench.tick()
    bench.result("c_1", "tab_B", output="B")
    assert bench.refused(bench.resulting("c_1", output="A")) == "tool.closed"


# --- approvals


def asked(target: str = "client") -> Bench:
    bench = Bench(ASK)
    bench.running()
    bench.calls(("rename_page", {"title": "Q1"}), target=target, approval=True)
    return bench


def test_an_edit_from_true_to_1_is_an_edit() -> None:
    bench = Bench(ASK)
    bench.running()
    bench.calls(("rename_page", {"force": True}), approval=True)
    resolved = wire(bench.respond("ap_1", "approve", arguments={"force": 1}).events)[0]
    assert resolved["arguments"] == {"force": 1}


def test_an_approval_nobody_knows() -> None:
    bench = asked()
    assert bench.refused(bench.responding("ap_9", "approve")) == "approval.unknown"


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_the_first_answer_wins(decision: str) -> None:
    bench = asked()
    bench.respond("ap_1", decision)
    for other in ("approve", "deny"):
        assert bench.refused(bench.responding("ap_1", other), "tab_B") == "approval.closed"


def test_arguments_are_told_only_if_they_were_edited() -> None:
    bench = asked()
    (resolved, requested, _) = wire(
        bench.respond("ap_1", "approve", arguments={"title": "Q1"}).events
    )
    assert "arguments" not in resolved
    assert requested["arguments"] == {"title": "Q1"}


def test_a_denial_edits_and_remembers_nothing() -> None:
    bench = asked()
    resolved = wire(bench.respond("ap_1", "deny", arguments={"title": "x"}, remember=True).events)[
        0
    ]
    assert resolved == e("approval.resolved", approval="ap_1", decision="deny", by="dev")
    assert bench.state.remembered == []


def test_a_remembered_tool_needs_no_more_asking() -> None:
    bench = asked()
    resolved = wire(bench.respond("ap_1", "approve", remember=True).events)[0]
    assert resolved["remember"] is True
    bench.result("c_1")
    assert [x["type"] for x in wire(bench.calls(("rename_page", {})).events)][3:] == [
        "tool_call.requested",
        "run.waiting",
    ]


def test_a_server_tool_with_approval_goes_to_the_worker() -> None:
    bench = asked("server")
    decided = bench.respond("ap_1", "approve")
    requested = wire(decided.events)[1]
    assert requested["target"] == "server"
    assert not {"client", "lease_ms"} & requested.keys()
    assert [x["type"] for x in wire(decided.events)][1:] == ["tool_call.requested"]
    assert decided.claimable_at == bench.clock()
    assert bench.state.run.status == "running", "the worker has something to do"


def test_an_approval_of_no_call() -> None:
    bench = Bench()
    bench.running()
    approval = bench.ask("Go on?", {"n": 1})
    decided = bench.respond(approval, "approve", arguments={"n": 2}, remember=True)
    assert wire(decided.events) == [
        e(
            "approval.resolved",
            approval="ap_1",
            decision="approve",
            arguments={"n": 2},
            by="dev",
            remember=True,
        )
    ]
    assert decided.claimable_at == bench.clock()
    assert bench.state.remembered == [], "there is no tool to remember"


def test_two_questions_are_one_wait() -> None:
    bench = Bench(ASK)
    bench.running()
    bench.calls(("rename_page", 1), ("rename_page", 2))
    assert bench.state.run.on == ["ap_1", "ap_2"]
    waits = wire(bench.respond("ap_1", "approve").events)[-1]
    assert waits == e("run.waiting", run="r_1", on=["c_1", "ap_2"])
    bench.respond("ap_2", "deny")
    assert bench.state.run.on == ["c_1"]


def test_an_answer_to_a_run_that_has_ended() -> None:
    bench = asked()
    bench.interrupt()
    assert bench.refused(bench.responding("ap_1", "approve")) == "approval.closed"


# --- two subjects in one session


def test_a_client_id_is_its_subjects() -> None:
    """The call is for the owner's tab; a guest that calls itself alike is another tab."""
    bench = offered(READ)
    for command in commands(bench, "c_1"):
        assert bench.refused(command, "tab_A", "eve") == "tool.held"
    bench.claim("c_1")
    for command in commands(bench, "c_1"):
        assert bench.refused(command, "tab_A", "eve") == "tool.held"
    bench.result("c_1", output=1)


def test_a_guests_run_is_for_the_guests_tab() -> None:
    bench = Bench(READ)
    send = cmd.MessageSend(id="k", session="s_1", content="Hi")
    bench.command(send, "tab_A", "eve")
    assert wire(bench.log)[-1]["by"] == "eve"
    bench.claim_run()
    bench.calls((READ.name, {}))
    for command in commands(bench, "c_1"):
        assert bench.refused(command, "tab_A") == "tool.held"
    bench.command(bench.claiming("c_1"), "tab_A", "eve")
    claimed = wire(bench.log)[-1]
    assert (claimed["type"], claimed["client"], claimed["by"]) == (
        "tool_call.claimed",
        "tab_A",
        "eve",
    )
    assert bench.refused(bench.resulting("c_1"), "tab_A") == "tool.held"
    bench.command(bench.resulting("c_1", output=1), "tab_A", "eve")


def test_an_owners_claims_name_nobody() -> None:
    bench = offered(READ)
    bench.claim("c_1")
    assert "by" not in wire(bench.log)[-1]
    assert all("by" not in event for event in wire(bench.log) if event["type"] == "run.queued")


def test_a_freed_call_is_its_new_holders() -> None:
    bench = offered(READ)
    bench.at("00:00:15.000")
    bench.tick()
    bench.command(bench.claiming("c_1"), "tab_B", "eve")
    assert bench.refused(bench.resulting("c_1"), "tab_B") == "tool.held"


def test_steering_that_nobody_read_runs_for_whom_the_run_before_was() -> None:
    bench = Bench(READ)
    bench.command(cmd.MessageSend(id="k_a", session="s_1", content="Hi"), "tab_A", "eve")
    bench.claim_run()
    bench.send("More", if_busy="steer")
    bench.complete()
    queued = [event for event in wire(bench.log) if event["type"] == "run.queued"]
    assert [(event["client"], event["by"]) for event in queued] == [("tab_A", "eve")] * 2


def test_an_answer_names_who_gave_it() -> None:
    bench = Bench()
    bench.running()
    bench.command(bench.responding(bench.ask(), "approve"), "tab_E", "eve")
    assert wire(bench.log)[-1]["by"] == "eve"
