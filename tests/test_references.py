"""Every program of the documents that people know such clients from has a test that runs it.

The programs stand in the tests as they do in the documents but for import names, URLs, and types.
"""

import difflib
import re
from pathlib import Path

import pytest
from msgspec import Struct

ROOT = Path(__file__).parents[1]
DOCUMENTS = ROOT.parent / "shared" / "references"

PYTHON = "inference-sh-python-sdk-streaming.txt"
FRONTEND = "inference-sh-realtime-streaming.txt"
STREAMING = "inference-sh-streaming-reference.txt"
WIKI = "ai-agent-wiki-streaming.txt"
NEAR = "near-ai-agent-streaming.txt"

OURS_PY = "tests/client/test_references.py"
OURS_JS = "web/test/references.test.js"
OURS_JSX = "tests/browser/react_pages/references.jsx"
IN_BROWSER = "tests/browser/test_react_references.py"

ALIKE = 0.85
"""So much of a program's words, in their order, is in ours: TypeScript's types are not."""


class Block(Struct, frozen=True):
    """A program: where it begins and ends in its document, where ours is, and what runs that."""

    document: str
    first: str
    last: str
    file: str
    begins: str
    run_by: tuple[str, str] | None = None


BLOCKS = {
    # Python
    "basic streaming (Python)": Block(
        PYTHON,
        "1agent = client.agent",
        "# Full message content so far",
        OURS_PY,
        "test_basic_streaming",
    ),
    "message callbacks": Block(
        PYTHON, "1def on_message", "Tool Call Callbacks", OURS_PY, "test_message_callbacks"
    ),
    "tool call callbacks": Block(
        PYTHON, "1def on_tool_call", "Manual Tool Handling", OURS_PY, "test_tool_call_callbacks"
    ),
    "manual tool handling": Block(
        PYTHON, "1calculator", "Combined Callbacks", OURS_PY, "test_manual_tool_handling"
    ),
    "combined callbacks": Block(
        PYTHON, "Combined Callbacks", "Async Client", OURS_PY, "test_combined_callbacks"
    ),
    "async client": Block(PYTHON, "async def main", "asyncio.run", OURS_PY, "test_async_client"),
    "async client, as printed": Block(
        PYTHON, "async def main", "asyncio.run", OURS_PY, "test_async_client_as_it_is_printed"
    ),
    # JavaScript
    "basic streaming": Block(
        STREAMING, "## Basic Streaming", "## Handling", OURS_JS, "basic streaming"
    ),
    "update types": Block(
        STREAMING, "## Handling Diff", "## Progress", OURS_JS, "handling different update types"
    ),
    "progress bar": Block(STREAMING, "### Node.js", "### React", OURS_JS, "a progress bar"),
    "timeout": Block(
        STREAMING, "## Streaming with Timeout", "## Agent", OURS_JS, "streaming with a timeout"
    ),
    "agent streaming": Block(
        STREAMING, "## Agent Streaming", "## Multiple", OURS_JS, "agent streaming"
    ),
    "parallel streams": Block(
        STREAMING, "## Multiple", "## Cancelling", OURS_JS, "multiple streams in parallel"
    ),
    "cancelling": Block(
        STREAMING, "## Cancelling", "## Collecting", OURS_JS, "cancelling a stream"
    ),
    "all logs": Block(STREAMING, "## Collecting", "## Custom", OURS_JS, "collecting all logs"),
    "stream processor": Block(
        STREAMING, "## Custom", "## Server-Sent", OURS_JS, "a stream processor of one’s own"
    ),
    "client tools": Block(
        FRONTEND, "const scanUI", "<AgentChat agentConfig={{ tools", OURS_JS, "client tools"
    ),
    # React
    "progress component": Block(
        STREAMING,
        "### React Progress",
        "## Streaming with",
        OURS_JSX,
        "React Progress Component",
        (IN_BROWSER, "test_the_progress_component"),
    ),
    "hook": Block(
        STREAMING,
        "## React Hook",
        "// Usage in component",
        OURS_JSX,
        "React Hook for Streaming",
        (IN_BROWSER, "test_the_hook_for_streaming"),
    ),
    "agent-sdk": Block(
        FRONTEND,
        "function MyChat",
        "// messages update",
        OURS_JSX,
        "the agent-sdk",
        (IN_BROWSER, "test_the_agent_sdk"),
    ),
    "pre-built component": Block(
        FRONTEND,
        "<AgentChat\n",
        "what streams",
        OURS_JSX,
        "pre-built chat component",
        (IN_BROWSER, "test_the_pre_built_chat_component"),
    ),
    "client tools (React)": Block(
        FRONTEND,
        "const scanUI",
        "under the hood",
        OURS_JSX,
        "client tools",
        (IN_BROWSER, "test_client_tools"),
    ),
}

# Programs that are nobody's client of ours: they read or write another wire format, or are text.
WITHOUT_COUNTERPART = {
    "Server-Sent Events in Browser": (STREAMING, "new EventSource( `/api/inference/stream"),
    "a FastAPI endpoint": (WIKI, "from fastapi import FastAPI"),
    "its page": (WIKI, "new EventSource(`/stream?query"),
    "completions within an agent": (NEAR, "self.env.completion([prompt] + messages, stream=True)"),
    "OpenAI's threads in a page": (NEAR, "/api/v1/threads/${threadId}/stream/${runId}"),
    "metadata of an agent": (NEAR, '"show_streaming_message": true'),
}
FENCES = {PYTHON: ("\npython\n", 6), STREAMING: ("```typescript", 12), FRONTEND: ("import {", 3)}
"""What begins a program in a document, and how many there are."""

_UNIT = re.compile(r"^(?:test\(|(?:async )?def test_|// \")", re.MULTILINE)


def document(name: str) -> str:
    """A document; they are not part of this repository."""
    path = DOCUMENTS / name
    if not path.exists():
        pytest.skip(f"the document is not at {path}")
    return path.read_text()


def ours(block: Block) -> str:
    """Our program: from its name to the next one's."""
    text = (ROOT / block.file).read_text()
    begin = text.index(block.begins)
    following = _UNIT.search(text, begin + len(block.begins))
    return text[begin : following.start() if following else len(text)]


def words(text: str) -> list[str]:
    """Its words; the Python document has line numbers in its text."""
    return re.findall(r"[A-Za-z_]+", text)


def program(text: str) -> str:
    """Without its heading and what is ours to change: imports and TypeScript's types."""
    code = text.rpartition("```typescript")[2]
    for pattern in (r"import \{.*?;", r"interface \w+ \{.*?\}", r":\s*(?:any|string|number)\b"):
        code = re.sub(pattern, "", code)
    return code


@pytest.mark.parametrize("name", BLOCKS)
def test_a_program_is_run(name: str) -> None:
    block = BLOCKS[name]
    assert ours(block)
    if block.run_by is not None:
        file, test = block.run_by
        assert f"async def {test}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_program_is_the_document_s(name: str) -> None:
    block = BLOCKS[name]
    text = document(block.document)
    begin = text.index(block.first)
    theirs = words(program(text[begin : text.index(block.last, begin + len(block.first))]))
    matcher = difflib.SequenceMatcher(None, theirs, words(ours(block)), autojunk=False)
    same = sum(match.size for match in matcher.get_matching_blocks())
    assert same / len(theirs) >= ALIKE


@pytest.mark.parametrize("name", WITHOUT_COUNTERPART)
def test_what_has_no_counterpart_is_there(name: str) -> None:
    where, says = WITHOUT_COUNTERPART[name]
    assert says in document(where)


@pytest.mark.parametrize("name", FENCES)
def test_no_program_is_forgotten(name: str) -> None:
    fence, count = FENCES[name]
    assert document(name).count(fence) == count
