"""docs/authentication.md: its claims are the code's, its program runs, word for word."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import msgspec
import pytest

from gateway.auth.token import Claims
from tests.support.http import http_client
from tests.support.processes import ROOT, free_port
from tests.support.waiting import eventually
from tests.support.wire import Tab

PAGE = (ROOT / "docs" / "authentication.md").read_text()


def test_every_claim_is_explained() -> None:
    table = PAGE.split("| claim |")[1].split("\n\n")[0]
    told = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert told == {field.encode_name for field in msgspec.structs.fields(Claims)}


@pytest.mark.parametrize("key", ["key-of-ann", "wrong", ""])
async def test_its_program_runs(key: str, tmp_path: Path) -> None:
    """Over a real socket: HTTP, a ticket, the handshake's header, hello."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    port = free_port()
    script = tmp_path / "program.py"
    script.write_text(program.replace("port=8000", f"port={port}"))
    process = subprocess.Popen(
        [sys.executable, str(script)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    url, headers = f"ws://127.0.0.1:{port}/v1/ws", {"Authorization": f"Bearer {key}"}
    try:
        async with http_client(f"http://127.0.0.1:{port}") as http:

            async def ready() -> bool:
                try:
                    return (await http.get("/readyz")).status_code == 200
                except httpx2.TransportError:
                    return False

            await eventually(ready, within=30, what="ready")
            sold = await http.post("/v1/tickets", headers=headers if key else {}, json={})
            if key != "key-of-ann":
                assert sold.status_code == 401
                async with Tab(url, hello=False) as tab:
                    await tab.send({"type": "hello", **({"token": key} if key else {})})
                    code = "auth.invalid" if key else "auth.required"
                    assert (await tab.wait_for("error"))["code"] == code
                    assert await tab.wait_closed() == 4401
                return
        for tab in (
            Tab(url, token=key),
            Tab(url, additional_headers=headers),
            Tab(f"{url}?ticket={sold.json()['ticket']}"),
        ):
            async with tab:
                who = (await tab.wait_for("welcome"))["principal"]
                assert who == {"tenant": "acme", "subject": "ann"}, json.dumps(tab.frames)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)
