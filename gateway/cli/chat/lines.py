"""What a typed line means: a message, a command of the chat, or the answer to a question. Pure."""

from typing import Any, Literal, TypeAlias, cast, get_args

import msgspec
from msgspec import Struct

from protocol.values import Detail

Name: TypeAlias = Literal[
    "help", "sessions", "new", "resume", "stop", "detail", "say", "error", "thinking", "quit"
]

HELP: dict[Name, str] = {
    "help": "/help            this list",
    "sessions": "/sessions        your sessions, the newest first",
    "new": "/new [AGENT]     begin a new session",
    "resume": "/resume ID       go on with a session, by its id or its number in /sessions",
    "stop": "/stop            stop the run, as Ctrl-C does",
    "detail": "/detail LEVEL    see more or less: answer, steps or full",
    "say": "/say TEXT        a message, also while a question waits for its answer",
    "error": "/error MESSAGE   answer a tool call with an error",
    "thinking": "/thinking        what the model thought last, in full",
    "quit": "/quit            leave, as Ctrl-D does; the session stays",
}
KEYS = (
    "A message that is sent while a run is live steers it. Alt-Enter begins a new line, "
    "// begins a message with a slash."
)


class Order(Struct, frozen=True):
    """A command of the chat."""

    name: Name
    argument: str = ""


class Message(Struct, frozen=True):
    """Text for the agent, or for the question that waits."""

    text: str


class Mistake(Struct, frozen=True):
    """What was wrong, and what to write."""

    text: str


def read(line: str) -> Order | Message | Mistake:
    """What a line is when no question waits, and of a command also when one does."""
    line = line.strip()
    if not line.startswith("/"):
        return Message(line)
    if line.startswith("//"):
        return Message(line[1:])
    word, _, argument = line[1:].partition(" ")
    word = "quit" if word == "exit" else word
    if word not in HELP:
        return Mistake(f"/{word} is no command: /help lists them; // sends a slash.")
    return Order(word, argument.strip())


def detail(text: str) -> Detail | None:
    """A level of detail; None: there is no such level."""
    return cast("Detail", text) if text in get_args(Detail) else None


class Decision(Struct, frozen=True):
    """The answer to an approval; `arguments` if they were edited."""

    approve: bool
    arguments: Any = None
    reason: str | None = None
    remember: bool = False


class Edit(Struct, frozen=True):
    """The arguments are to be edited before they are approved."""


def decision(line: str) -> Decision | Edit | Mistake:
    """The answer to an approval: y, n, always, edit, or the arguments as they should be."""
    line = line.strip()
    word, _, rest = line.partition(" ")
    match word.lower():
        case "y" | "yes" if not rest:
            return Decision(approve=True)
        case "a" | "always" if not rest:
            return Decision(approve=True, remember=True)
        case "e" | "edit" if not rest:
            return Edit()
        case "n" | "no":
            return Decision(approve=False, reason=rest.strip() or None)
        case _:
            return edited(line)


def edited(text: str) -> Decision | Mistake:
    """Approval with the arguments in `text`."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        if text.startswith(("{", "[")):
            return Mistake(f"That is no JSON: {error}.")
        return Mistake("Answer y, n [reason], always, edit, or the arguments as JSON.")
    if not isinstance(value, dict):
        return Mistake("The arguments are a JSON object, such as {}.")
    return Decision(approve=True, arguments=cast("Any", value))


def result(line: str) -> Any:
    """A tool's result: JSON if it is, else the text itself."""
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        return line
