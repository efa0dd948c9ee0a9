"""Faults of the door: pages of others, operations pages, proxies, limits of an address, audit.

Over real processes and sockets. What a header may say is in tests/transports.
"""

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from gateway.telemetry import LINES_PER_SECOND
from tests.conftest import StartGateway
from tests.faults.conftest import Replicate
from tests.faults.nginx import Nginx
from tests.faults.test_auth_rows import GOOD, ORIGINS, PAGE, SECRET, crafted, token
from tests.support.audit import audit_log, lines_of
from tests.support.http import http_client
from tests.support.inprocess import raw_socket
from tests.support.processes import Valkey, free_port
from tests.support.waiting import eventually
from tests.support.wire import Tab, new_id
from tests.test_server import handshake

JWT = ["--auth", "jwt", "--agents", "scripted,echo"]
WITH_SECRET = {"AGENT_GATEWAY_AUTH_SECRET": SECRET}


def bearer(of: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {of}"}


# --- A6


async def answer_to(port: int, *headers: str, path: str = "/v1/ws") -> bytes:
    """The status line of a handshake with these headers as they are."""
    async with raw_socket(port) as (reader, writer):
        head = handshake(path=path).removesuffix(b"\r\n")
        writer.write(head + "".join(f"{line}\r\n" for line in headers).encode() + b"\r\n")
        return await reader.readline()


async def test_A6_headers_as_no_library_would_send_them(replicate: Replicate) -> None:
    replica = await replicate(auth="jwt", auth_secret=SECRET, allowed_origins=(PAGE,))
    assert b" 101 " in await answer_to(replica.port, f"Origin: {PAGE}")
    evil = "Origin: https://evil.example"
    for headers in (
        (f"Origin: {PAGE}", evil),
        (evil, f"Origin: {PAGE}"),
        (f"Origin: {PAGE}, https://evil.example",),
        (f"Origin: {PAGE}.",),
        (f"Origin: {PAGE.upper()}",),
        (f"Origin: {PAGE}:443",),
        ("Origin: null",),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        *((f"Origin: {each}",) for each in ORIGINS.values()),
    ):
        answered = await answer_to(replica.port, *headers)
        twice = len(headers) > 1  # which is no HTTP
        assert (b" 400 " if twice else b" 403 ") in answered, headers


async def test_A6_a_page_posts_to_a_gateway_without_tokens(replicate: Replicate) -> None:
    """A person's own gateway on loopback: no form, image or frame of a page does anything."""
    replica = await replicate()
    url = f"http://{replica.place}/v1/sessions"
    body = json.dumps({"agent": "echo", "session": "planted"}).encode()
    async with http_client() as http:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            for told in (
                {"Origin": "http://evil.example"},
                {"Origin": "null"},
                {"Sec-Fetch-Site": "cross-site"},
                {"Host": f"evil.example:{replica.port}"},
                {},
            ):
                headers = {"Content-Type": kind, **told}
                refused = await http.post(url, content=body, headers=headers)
                assert refused.status_code == (403 if told else 415), headers
        assert (await http.get(url)).json()["sessions"] == []
        for name in ("evil.example", "127.0.0.1.evil.example"):  # DNS rebinding
            host = f"{name}:{replica.port}"
            page = {"Host": host, "Origin": f"http://{host}"}
            assert (await http.get(url, headers=page)).status_code == 403
            with pytest.raises(InvalidStatus) as denied:
                await connect(
                    replica.url, proxy=None, additional_headers={"Origin": f"http://{host}"}
                )
            assert denied.value.response.status_code == 403
        made = await http.post(url, json={"agent": "echo", "session": "mine"})
        assert made.status_code == 201


# --- T7


@pytest.mark.parametrize("command", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_T7_metrics_are_for_those_who_may_see_them(
    replicate: Replicate, command: str
) -> None:
    """With tokens and no port of their own: for those with the scope, and not there for others."""
    replica = await replicate(auth="jwt", auth_secret=SECRET)
    admin = crafted({**GOOD, "scope": "other admin"})
    async with http_client(f"http://{replica.place}") as http:
        nothing = await http.request(command, "/nothing")
        strangers = (
            {},
            bearer(token()),
            bearer(crafted({**GOOD, "scope": "administrator"})),
            bearer(crafted({**GOOD, "scope": "admin", "exp": 1_700_000_000})),
            bearer("x"),
            {"Cookie": f"token={admin}"},
        )
        for headers in strangers:
            hidden = await http.request(command, "/metrics", headers=headers)
            assert hidden.status_code == 404, headers
            assert (hidden.text, hidden.headers.keys()) == (nothing.text, nothing.headers.keys())
        assert (await http.get(f"/metrics?token={admin}")).status_code == 404
        shown = await http.request(command, "/metrics", headers=bearer(admin))
        assert shown.status_code == (200 if command in ("GET", "HEAD") else 405)


async def test_T7_a_port_for_operators(gateway: StartGateway) -> None:
    """It has the three pages and nothing else; then the public one has no metrics for anybody."""
    port = free_port()
    served = await gateway(*JWT, f"--admin-port={port}", environment=WITH_SECRET)
    admin = bearer(crafted({**GOOD, "scope": "admin"}))
    async with (
        http_client(f"http://127.0.0.1:{port}") as inner,
        http_client(served.http_url) as outer,
        Tab(served.url, token=token()),
    ):
        assert "agent_gateway_connections 1.0" in (await inner.get("/metrics")).text
        assert (await inner.get("/healthz")).status_code == 200
        assert (await inner.get("/readyz")).status_code == 200
        for path in ("/v1/sessions", "/v1/ws", "/", "/pages/demo.js"):
            assert (await inner.get(path)).status_code == 404
        for headers in ({}, bearer(token()), admin):
            assert (await outer.get("/metrics", headers=headers)).status_code == 404
        assert (await outer.get("/healthz")).status_code == 200
    assert await served.terminate() == 0


async def test_T7_each_process_has_a_port_for_operators(
    gateway: StartGateway, valkey: Valkey
) -> None:
    """The first on the port, the next on the next; who takes a place takes its port."""
    port = free_port(in_a_row=2)
    served = await gateway("--broker", valkey.url, "--processes=2", f"--admin-port={port}")

    async def pid(at: int) -> int:
        """Of the process that answers there; 0 if none does."""
        try:
            async with http_client(timeout=5) as http:
                text = (await http.get(f"http://127.0.0.1:{port + at}/metrics")).text
        except httpx2.TransportError:
            return 0
        found = re.search(r'agent_gateway_connections\{process="(\d+)"\}', text)
        return int(found[1]) if found else 0

    one = await eventually(lambda: pid(0), within=30, what="the first answers")
    other = await eventually(lambda: pid(1), within=30, what="the second answers")
    assert len({one, other, served.pid}) == 3
    os.kill(one, signal.SIGKILL)

    async def replaced() -> bool:
        return await pid(0) not in (0, one, other)

    await eventually(replaced, within=20, what="another process answers there")
    assert await eventually(lambda: pid(1), what="the second answers") == other
    assert await served.terminate() == 0


# --- proxies


async def test_the_address_that_a_proxy_tells_is_believed_of_trusted_ones(
    gateway: StartGateway, tmp_path: Path
) -> None:
    for proxies, address in ((["--trusted-proxies=127.0.0.0/8"], "8.8.8.8"), ([], "127.0.0.1")):
        file = tmp_path / f"{address}.jsonl"
        served = await gateway(*JWT, f"--audit-log={file}", *proxies, environment=WITH_SECRET)
        headers = {"X-Forwarded-For": "1.1.1.1, 8.8.8.8", "X-Real-IP": "6.6.6.6"}
        async with Tab(served.url, token=token(), additional_headers=headers):
            pass
        async with http_client() as http:
            url = f"{served.http_url}/v1/sessions"
            await http.get(url, headers={**headers, **bearer("x")})
        await served.terminate()
        lines = lines_of(file)
        assert [line["action"] for line in lines] == ["connect", "disconnect", "authenticate"]
        assert {line["address"] for line in lines} == {address}


@pytest.mark.lb
async def test_nginx_tells_the_address_and_a_client_cannot(
    replicate: Replicate, stack: AsyncExitStack, tmp_path: Path
) -> None:
    """Each of two addresses has connections of its own behind one nginx, whatever it claims."""
    replica = await replicate(
        auth="jwt", auth_secret=SECRET,
        trusted_proxies=("127.0.0.1",), max_address_connections=1,
    )  # fmt: skip
    nginx = Nginx(tmp_path, [replica.port], forwards=True)
    stack.push_async_callback(nginx.kill)
    await nginx.start()
    with audit_log(tmp_path / "audit") as file:
        claims = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https"}
        options: dict[str, Any] = {"token": token(), "additional_headers": claims}
        async with (
            Tab(nginx.url, local_addr=("127.0.0.2", 0), **options) as one,
            Tab(nginx.url, local_addr=("127.0.0.3", 0), **options) as other,
        ):
            refused = Tab(nginx.url, hello=False, local_addr=("127.0.0.2", 0))
            await refused.open()
            assert await refused.wait_closed() == 4480
            await refused.close()
            for tab in (one, other):
                await tab.create("echo")
    told = [line["address"] for line in lines_of(file) if line["action"] == "connect"]
    assert told == ["127.0.0.2", "127.0.0.3"]


# --- limits of an address


async def test_an_address_has_so_many_connections(replicate: Replicate) -> None:
    """4480, as too many of one subject; streams are connections too; others are not disturbed."""
    replica = await replicate(auth="jwt", auth_secret=SECRET, max_address_connections=2)
    there: dict[str, Any] = {"local_addr": ("127.0.0.2", 0)}
    async with (
        Tab(replica.url, token=token()) as tab,
        Tab(replica.url, token=token("bob")),
        Tab(replica.url, token=token("eve"), **there) as other,
    ):
        session = await tab.create("echo")
        refused = Tab(replica.url, hello=False)
        await refused.open()
        assert await refused.wait_closed() == 4480
        await refused.close()
        url = f"http://{replica.place}/v1/sessions/{session}/events"
        async with http_client() as http:
            assert (await http.get(url, headers=bearer(token()))).status_code == 503
        await tab.create("echo")
        await other.create("echo")
    addresses = replica.gateway._delivery.addresses
    await eventually(lambda: not addresses.connections, what="nothing is counted any more")
    async with Tab(replica.url, token=token()):
        pass


async def test_strangers_are_few(replicate: Replicate) -> None:
    """Who has not said hello; 503 before the handshake. Who has said it makes room."""
    replica = await replicate(
        auth="jwt", auth_secret=SECRET, hello_ms=60_000,
        max_address_strangers=2, max_strangers=3,
    )  # fmt: skip
    addresses = replica.gateway._delivery.addresses
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(Tab(replica.url, hello=False)) for _ in range(2)]
        assert b" 503 " in await answer_to(replica.port)
        there: dict[str, Any] = {"local_addr": ("127.0.0.2", 0), "hello": False}
        await stack.enter_async_context(Tab(replica.url, **there))
        await eventually(lambda: addresses.strangers_in_all == 3, what="three strangers")
        with pytest.raises(InvalidStatus) as denied:
            await Tab(replica.url, local_addr=("127.0.0.3", 0)).open()
        assert denied.value.response.status_code == 503
        assert denied.value.response.headers["Retry-After"]
        await silent[0].send({"type": "hello", "token": token()})
        await silent[0].wait_for("welcome")
        assert b" 101 " in await answer_to(replica.port)
        await silent[0].create("echo")
    await eventually(lambda: addresses.strangers_in_all == 0, what="no stranger is left")


async def test_handshakes_and_requests_of_an_address_have_a_rate(replicate: Replicate) -> None:
    replica = await replicate(address_requests_per_s=1, address_requests_burst=20)
    began = time.monotonic()
    answers = Counter([(await answer_to(replica.port)).split()[1] for _ in range(30)])
    assert answers.keys() == {b"101", b"429"}
    assert 20 <= answers[b"101"] <= 20 + time.monotonic() - began + 1
    async with (
        Tab(replica.url, local_addr=("127.0.0.2", 0)) as tab,
        http_client(f"http://{replica.place}") as http,
    ):
        await tab.create("echo")
        asked = [await http.get("/v1/sessions") for _ in range(20)]
        refused = [each for each in asked if each.status_code == 429]
        assert refused
        assert refused[0].json()["code"] == "rate.limited"
        assert (await http.get("/healthz")).status_code == 200


async def test_requests_of_a_subject_have_a_rate(replicate: Replicate) -> None:
    replica = await replicate(auth="jwt", auth_secret=SECRET, requests_per_s=1, requests_burst=5)
    async with http_client(f"http://{replica.place}") as http:
        asked = [await http.get("/v1/sessions", headers=bearer(token())) for _ in range(20)]
        assert [each.status_code for each in asked[:5]] == [200] * 5
        refused = [each for each in asked if each.status_code == 429]
        assert refused
        assert refused[0].headers["retry-after"] == "1"
        other = await http.get("/v1/sessions", headers=bearer(token("bob")))
        assert other.status_code == 200


async def test_a_subject_cannot_have_more_streams_than_connections(replicate: Replicate) -> None:
    replica = await replicate(auth="jwt", auth_secret=SECRET, max_subject_connections=2)
    async with (
        Tab(replica.url, token=token()) as tab,
        http_client(headers=bearer(token())) as http,
    ):
        session = await tab.create("echo")
        url = f"http://{replica.place}/v1/sessions/{session}/events"
        async with http.stream("GET", url) as first:
            assert first.status_code == 200
            assert (await http.get(url)).status_code == 503
        async with asyncio.timeout(10):
            while True:  # until the first is known to be gone
                async with http.stream("GET", url) as again:
                    if again.status_code == 200:
                        break


async def test_after_too_many_bad_tokens_none_is_looked_at(replicate: Replicate) -> None:
    """Not final for a client: behind the address may be others."""
    replica = await replicate(auth="jwt", auth_secret=SECRET, address_failures_per_min=3)
    async with http_client(f"http://{replica.place}") as http:
        async with Tab(replica.url, token=token()) as known:
            asked = [await http.get("/v1/sessions", headers=bearer("bad")) for _ in range(5)]
            assert [each.status_code for each in asked] == [401, 401, 401, 429, 429]
            good = await http.get("/v1/sessions", headers=bearer(token()))
            assert (good.status_code, good.json()["retryable"]) == (429, True)
            tab = Tab(replica.url, token=token())
            await tab.open()
            assert tab.find("error", code="rate.limited")
            assert await tab.wait_closed() == 4479
            await tab.close()
            await known.create("echo")
        async with Tab(replica.url, token=token(), local_addr=("127.0.0.2", 0)):
            pass


# --- the audit log


async def test_N15_the_audit_log_tells_both_addresses(
    gateway: StartGateway, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    served = await gateway(*JWT, f"--audit-log={file}", environment=WITH_SECRET)
    for address in ("127.0.0.2", "127.0.0.3"):
        options: dict[str, Any] = {"client": "tab_1", "token": token()}
        options["local_addr"] = (address, 0)
        async with Tab(served.url, **options):
            pass
    await served.terminate()
    lines = [line for line in lines_of(file) if line["action"] == "connect"]
    assert [line["address"] for line in lines] == ["127.0.0.2", "127.0.0.3"]
    assert {(line["tenant"], line["subject"], line["client"]) for line in lines} == {
        ("acme", "ann", "tab_1")
    }


async def test_T1_what_an_auditor_asks_for(gateway: StartGateway, tmp_path: Path) -> None:
    """Who came, from where, what they decided, and who tried what is another's."""
    file = tmp_path / "audit.jsonl"
    served = await gateway(*JWT, f"--audit-log={file}", environment=WITH_SECRET)
    ask = {"approve": {"title": "Pay?", "arguments": {"to": "SECRETTEXT"}}}
    async with (
        Tab(served.url, token=token("ann")) as ann,
        Tab(served.url, token=token("eve", "evil")) as eve,
        http_client(served.http_url) as http,
    ):
        session = await ann.create()
        await ann.subscribe(session)
        for decision in ("approve", "deny"):
            since = ann.mark()
            run = (await ann.script(session, ask))["run"]
            asked = await ann.wait_for("approval.requested", since=since)
            await ann.must(
                {"type": "approval.respond", "session": session, "decision": decision,
                 "approval": asked["approval"], "reason": "SECRETTEXT"}
            )  # fmt: skip
            await ann.run_end(session, run)
        await ann.script(session, {"sleep_ms": 60_000})
        await ann.must({"type": "run.interrupt", "session": session, "reason": "SECRETTEXT"})
        for id_ in (session, "nobodys"):
            refused = await eve.ask({"type": "session.subscribe", "session": id_})
            assert refused["code"] == "session.not_found"
            await http.get(f"/v1/sessions/{id_}", headers=bearer(token("eve", "evil")))
        taken = await eve.ask({"type": "session.create", "session": session, "agent": "echo"})
        assert taken["code"] == "session.exists"
        await http.get("/v1/sessions", headers=bearer("SECRETTEXT"))
        deleted = await http.delete(f"/v1/sessions/{session}", headers=bearer(token("ann")))
        assert deleted.status_code == 200
    await served.terminate()
    lines = lines_of(file)
    told = [
        (line.get("subject"), line["action"], line["outcome"], line.get("code"), line.get("exists"))
        for line in lines
        if line["action"] not in ("connect", "disconnect")
    ]
    missing = ("eve", "refuse", "refused", "session.not_found")
    assert told == [
        ("ann", "approve", "ok", None, None),
        ("ann", "deny", "ok", None, None),
        ("ann", "interrupt", "ok", None, None),
        (*missing, True),
        (*missing, True),
        (*missing, False),
        (*missing, False),
        ("eve", "refuse", "refused", "session.exists", True),
        (None, "authenticate", "refused", "auth.invalid", None),
        ("ann", "delete", "ok", None, None),
    ]
    assert "SECRETTEXT" not in file.read_text()
    assert all(line["timestamp"] for line in lines)
    of_ann = [line for line in lines if line.get("subject") == "ann" and "session" in line]
    assert {line["session"] for line in of_ann} == {session}
    comings = [line["action"] for line in lines if line["action"] in ("connect", "disconnect")]
    assert Counter(comings) == {"connect": 2, "disconnect": 2}


async def test_X6_an_attackers_flood_leaves_room_in_the_audit_log(
    gateway: StartGateway, tmp_path: Path
) -> None:
    """Of one address some lines a second, then a number; another's are all there."""
    file = tmp_path / "audit.jsonl"
    served = await gateway(*JWT, f"--audit-log={file}", environment=WITH_SECRET)
    async with (
        http_client(served.http_url) as http,
        Tab(served.url, token=token(), local_addr=("127.0.0.2", 0)) as tab,
    ):
        session = await tab.create()
        for _ in range(30):
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(http.get("/v1/sessions", headers=bearer("bad")))
            await tab.ask({"type": "run.interrupt", "session": session})
        await asyncio.sleep(1.1)  # into another second, whose first line tells the rest
        await http.get("/v1/sessions", headers=bearer("bad"))
        await tab.must({"type": "session.delete", "session": session})
    await served.terminate()
    lines = lines_of(file)
    bad = [line for line in lines if line["action"] == "authenticate"]
    # its seconds begin elsewhere in ours, so one of ours has lines of two
    seconds = {line["timestamp"][:19] for line in bad}
    assert len(bad) <= 2 * LINES_PER_SECOND * len(seconds)
    dropped = sum(line.get("dropped", 0) for line in bad)
    assert dropped > 0
    assert len(bad) + dropped == 600 + 1
    actions = [line["action"] for line in lines if line.get("subject") == "ann"]
    assert actions == ["connect", "delete", "disconnect"]


# --- A9


async def test_A9_nothing_that_is_said_or_secret_is_written_down(
    gateway: StartGateway, tmp_path: Path
) -> None:
    """Tokens wherever they can be put, and texts of a session, at the most talkative level."""
    port, file = free_port(), tmp_path / "audit.jsonl"
    served = await gateway(
        *JWT, "--log-level=debug", f"--admin-port={port}", f"--audit-log={file}",
        environment=WITH_SECRET,
    )  # fmt: skip
    good, bad = token("canary"), crafted({**GOOD, "exp": 1_700_000_000})
    text, told = "CANARY-of-a-text", list[str]()
    async with http_client(served.http_url) as http:
        for canary in (good, bad):
            for url in (f"{served.url}?token={canary}", f"{served.url}/{canary}", served.url):
                for offered in ([canary], ["agent-gateway.v1", canary]):
                    told += await shaken(url, offered, canary)
            for path in (f"/v1/sessions?t={canary}", f"/v1/sessions/{canary}/events", f"/{canary}"):
                answer = await http.get(path, headers={**bearer(canary), "Referer": canary})
                told += [answer.text, str(answer.headers)]
        async with Tab(served.url, token=good) as tab:
            session = await tab.create(metadata={"note": text})
            await tab.subscribe(session)
            said = await tab.script(
                session,
                {"say": text}, {"log": text}, {"activity": text}, {"fail": text},
                metadata={"note": text},
            )  # fmt: skip
            await tab.run_end(session, said["run"])
            said = await tab.script(session, {"approve": {"title": text, "arguments": text}})
            asked = await tab.wait_for("approval.requested")
            reply = {"session": session, "approval": asked["approval"], "decision": "deny"}
            await tab.must({"type": "approval.respond", **reply, "reason": text})
            await tab.run_end(session, said["run"])
            await tab.ask({"type": "message.send", "session": session, "content": 7, "x": text})
            await tab.ask({"type": text, "token": good})
            await tab.ask({"type": "auth.refresh", "token": bad})
            await tab.send_raw(f'{{"type":"{text}", {good}')
            await tab.send_raw(b"\xff" + text.encode())
    async with http_client() as http:
        told.append((await http.get(f"http://127.0.0.1:{port}/metrics")).text)
    await served.terminate()
    told += [served.output(), file.read_text()]
    for canary in (good, bad):
        for part in canary.split(".")[1:]:  # the head is the same for all
            assert not [each for each in told if part[:24] in each]
    assert not [each for each in told if text in each]
    assert SECRET not in "".join(told)
    assert "connect" in file.read_text()


async def shaken(url: str, offered: list[str], canary: str) -> list[str]:
    """What a handshake with a token in every place is answered, and its close reason."""
    try:
        socket = await connect(
            url,
            proxy=None,
            subprotocols=[Subprotocol(each) for each in offered],
            additional_headers={**bearer(canary), "X-Token": canary, "Cookie": f"t={canary}"},
        )
    except InvalidStatus as refused:
        return [str(refused.response.headers), refused.response.body.decode()]
    except InvalidHandshake as refused:
        return [str(refused)]
    await socket.send(json.dumps({"type": "hello", "token": "x", "client": new_id("c")}))
    told: list[str] = []
    with suppress(ConnectionClosed):
        while True:
            told.append(str(await socket.recv()))
    return [*told, socket.close_reason or "", str(socket.response and socket.response.headers)]
