"""The answer to a command is stored with what it changed; who sends it again gets the same."""

import hashlib
from typing import Any

import msgspec

from protocol import commands as cmd
from protocol.codec import encode
from protocol.errors import ProtocolError
from protocol.frames import Ok

_ANSWERS_WITH_SEQ = (
    cmd.MessageSend,
    cmd.RunStart,
    cmd.RunInterrupt,
    cmd.ToolResult,
    cmd.ApprovalRespond,
)
_answer = msgspec.json.Decoder(dict[str, Any])


def digest_of(command: cmd.DecidedCommand) -> str:
    """Tells whether what comes under a known id is the same command."""
    return hashlib.blake2b(encode(command), digest_size=12).hexdigest()


def answer(command: cmd.DecidedCommand, fields: dict[str, Any], seq: int) -> Ok:
    """The `ok` of a command that left the log at `seq`."""
    if isinstance(command, _ANSWERS_WITH_SEQ):
        return Ok(id=command.id, **fields, seq=seq)
    return Ok(id=command.id, **fields)


def answer_again(
    command: cmd.DecidedCommand, digest: str, known_digest: str, stored: bytes, seq: int
) -> Ok:
    """The stored answer. Raises `ProtocolError` `command.conflict` if it is another's."""
    if known_digest != digest:
        raise ProtocolError(
            "command.conflict", f"Command {command.id} was already used with another body."
        )
    return answer(command, _answer.decode(stored), seq)
