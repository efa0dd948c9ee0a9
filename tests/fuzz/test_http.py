"""The HTTP routes under schemathesis, from our OpenAPI document, against a real gateway.

Valid and invalid requests to every route, sequences that follow a session through its life; every
answer must be one that the document names, of the shape it has there, and none a 5xx.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.auth.token import mint_token
from gateway.transports.openapi import openapi
from protocol.codec import decode_down, decode_event
from tests.conftest import StartGateway
from tests.fuzz.conftest import Budget, Tried
from tests.support.http import http_client
from tests.support.processes import GatewayProcess

HERE = Path(__file__).parent
SECRET = "a secret of more than thirty-two bytes"
CASES = re.compile(r"(\d+) generated")
OUTPUT = 20_000


@pytest.fixture
async def server(gateway: StartGateway) -> AsyncIterator[GatewayProcess]:
    """Its log must be quiet at the end."""
    options = ("--agents", "echo,scripted", "--auth", "jwt")
    secret = {"AGENT_GATEWAY_AUTH_SECRET": SECRET}
    server = await gateway(*options, environment=secret)
    yield server
    assert server.running
    assert '"level":"error"' not in server.output()


def token() -> str:
    return mint_token(SECRET, subject="ann", tenant="acme", detail="full")


async def test_every_route(
    server: GatewayProcess, tmp_path: Path, budget: Budget, tried: Tried
) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(msgspec.json.encode(openapi()))
    process = await asyncio.create_subprocess_exec(
        *(
            Path(sys.executable).with_name("st"),
            "run",
            document,
            "--url",
            server.http_url,
            "--checks",
            "all",
        ),
        # A command to a session that exists is answered 404, too, for a call that does not.
        *("--exclude-checks", "ensure_resource_availability"),
        # Streams have a test of their own; metrics are not there for such a token.
        *("-H", f"Authorization: Bearer {token()}"),
        *("--exclude-path-regex", "(/events|^/metrics)$"),
        *("--seed", str(budget.seed), "--max-examples", str(max(1, int(budget.seconds)))),
        *("--request-timeout", "10", "--warnings", "off", "--no-color"),
        cwd=tmp_path,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.fuzz.schemathesis_hooks",
            "PYTHONPATH": str(HERE.parents[1]),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode(errors="replace")
    assert process.returncode == 0, said[-OUTPUT:]
    found = CASES.search(said)
    assert found is not None, said[-OUTPUT:]
    tried(int(found[1]))


EPOCH = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
PLACE = st.integers(-(2**64), 2**64) | st.text(max_size=5)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "after": PLACE,
        "epoch": EPOCH,
        "detail": st.sampled_from(["answer", "steps", "full", "all", "null", ""]),
        "Last-Event-ID": st.text("abc: é0123456789", max_size=30).map(str.strip),
    },
)


async def test_event_streams(server: GatewayProcess, budget: Budget, tried: Tried) -> None:
    """The one route whose answers do not end: what the document says of it holds."""
    known = openapi()["paths"]["/v1/sessions/{session}/events"]["get"]["responses"]
    drawn: list[dict[str, Any]] = []

    @settings(max_examples=int(20 * budget.seconds), database=None)
    @given(QUERIES)
    def draw(query: dict[str, Any]) -> None:
        drawn.append(query)

    draw()
    authorization = {"Authorization": f"Bearer {token()}"}
    async with http_client(server.http_url, headers=authorization) as http:
        made = await http.post("/v1/sessions", json={"agent": "echo"})
        path = f"/v1/sessions/{made.json()['session']}/events"
        for query in drawn:
            last = str(query.pop("Last-Event-ID", "")).encode("latin-1")
            async with http.stream(
                "GET", path, params=query, headers=[(b"last-event-id", last)] if last else []
            ) as answer:
                assert str(answer.status_code) in known, query
                content = known[str(answer.status_code)]["content"]
                assert answer.headers["content-type"].partition(";")[0] in content
                if answer.status_code == 200:
                    await _is_a_frame(answer)
                else:
                    decode_down(await answer.aread())
    tried(len(drawn))


async def _is_a_frame(stream: httpx2.Response) -> None:
    async for line in stream.aiter_lines():
        if line.startswith("data: "):
            data = line.removeprefix("data: ").encode()
            assert decode_down(data) or decode_event(data)
            return
