"""The recorded model streams in ../shared/recordings, for tests that are skipped without them."""

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "recordings"
NAMES = (
    "alibaba-tool-call",
    "anthropic-compat-tool-call",
    "azure-model-router",
    "deepseek-thinking",
    "deepseek-tool-call",
    "groq-reasoning",
    "mistral-thinking",
    "openai-agent-loop-1",
    "openai-agent-loop-2",
    "openai-agent-loop-3",
    "openai-text",
    "openrouter-error-mid-stream",
    "openrouter-reasoning",
    "xai-tool-call",
)
needed = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the recorded model streams (../shared/recordings) are not here"
)


def stream(name: str) -> bytes:
    """What the provider answered, byte for byte."""
    return (FOLDER / f"{name}.sse").read_bytes()


def request(name: str) -> dict[str, Any]:
    """The request that was answered so."""
    return json.loads((FOLDER / f"{name}.request.json").read_text())
