"""The terminal of a chat: a prompt at the bottom, above it what is going on, above that the past.

Everything about prompt_toolkit is here. What stays is written into the terminal's own scrollback;
only the lines below it are drawn again. One task writes, so what becomes complete leaves the lower
part and enters the scrollback in one step.
"""

import asyncio
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.application import Application, in_terminal
from prompt_toolkit.auto_suggest import AutoSuggest, Suggestion
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.layout.processors import AppendAutoSuggestion, BeforeInput

from gateway.cli.chat.conversation import Conversation, View
from gateway.cli.chat.items import Item, Live
from gateway.cli.chat.lines import HELP
from gateway.cli.chat.look import Look
from gateway.cli.chat.opening import Wish, connect, refused
from gateway.client import AsyncClient, GatewayError
from protocol.values import Detail, Tool

REDRAW_SECONDS = 0.03
INPUT_LINES = 8


class Terminal:
    """The `Screen` of one conversation; `run` while it lasts. At most as much waits to be written
    as has been received meanwhile."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._items: list[Item] = []
        self._view = View(Live(), "", "")
        self._news = asyncio.Event()
        self._drawing = asyncio.Lock()
        self._drawn = ""
        self._question = ""
        self._draft: str | None = None  # what was being typed when a question came
        self._conversation: Conversation | None = None
        self._buffer = Buffer(
            multiline=True,
            accept_handler=self._accept,
            auto_suggest=_Commands(),
            name="message",
        )
        self._app: Application[None] = Application(
            layout=self._layout(),
            key_bindings=self._keys(),
            erase_when_done=True,
        )

    # --- as a Screen

    def show(self, items: Sequence[Item], view: View) -> None:
        """Soon."""
        self._items += items
        self._view = view
        self._news.set()

    async def edit(self, text: str) -> str | None:
        """In $VISUAL or $EDITOR, else, or if that cannot be used, in the prompt."""
        if editor := os.environ.get("VISUAL") or os.environ.get("EDITOR"):
            with suppress(OSError, ValueError):  # it is not there, or wrote no text
                async with self._drawing, in_terminal():
                    return await asyncio.to_thread(_edited, shlex.split(editor), text)
        self._buffer.document = Document(text)
        return None

    # --- its life

    async def run(self, conversation: Conversation, wish: Wish, first: str | None) -> None:
        """The conversation from its beginning to its end.

        Raises:
            GatewayError: as `Conversation.run`.
        """
        self._conversation = conversation
        failure: GatewayError | None = None
        async with asyncio.TaskGroup() as group:
            drawing = group.create_task(self._draw())
            typing = group.create_task(self._type(conversation))
            try:
                await conversation.run(wish, first)
            except GatewayError as error:
                failure = error  # not raised here: the group would wrap it
            finally:
                drawing.cancel()
                if self._app.is_running:
                    self._app.exit()
                else:
                    typing.cancel()
        self._write()
        if failure is not None:
            raise failure

    async def _type(self, conversation: Conversation) -> None:
        try:
            await self._app.run_async()
        except EOFError:  # the terminal is gone
            conversation.quit()

    async def _draw(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            async with self._drawing:
                if self._items:
                    await self._make_room()
                    self._write()
                self._take()
                self._app.invalidate()
            await asyncio.sleep(REDRAW_SECONDS)  # what comes meanwhile is drawn at once

    async def _make_room(self) -> None:
        """Erase the lower part. The keyboard stays as it is: with `in_terminal` it would turn to
        whole lines for a moment, and a Ctrl-D that is pressed in it comes as another key."""
        if self._app.is_running:
            await self._app.renderer.wait_for_cpr_responses()
            self._app.renderer.erase()

    def _write(self) -> None:
        """What stays goes into the scrollback."""
        items, self._items = self._items, []
        width = self._app.output.get_size().columns
        sys.stdout.write("".join(self._look.item(item, width) for item in items))
        sys.stdout.flush()

    def _take(self) -> None:
        """The newest view is what is drawn from now on."""
        size = self._app.output.get_size()
        height = max(3, size.rows - INPUT_LINES)
        self._drawn = self._look.live(self._view.live, self._view.status, size.columns, height)
        question = self._view.question
        if question and not self._question and self._buffer.text:
            # what is half typed is no answer to a question that comes now
            self._draft = self._buffer.text
            self._buffer.reset()
        elif not question and self._draft is not None and not self._buffer.text:
            self._buffer.document = Document(self._draft)
            self._draft = None
        self._question = question

    # --- its parts

    def _layout(self) -> Layout:
        live = Window(
            FormattedTextControl(lambda: ANSI(self._drawn)),
            dont_extend_height=True,
            wrap_lines=False,
        )
        prompt = Window(
            BufferControl(
                self._buffer,
                input_processors=[BeforeInput(self._prompt), AppendAutoSuggestion()],
            ),
            dont_extend_height=True,
            wrap_lines=True,
        )
        return Layout(
            HSplit([ConditionalContainer(live, Condition(lambda: bool(self._drawn))), prompt]),
            prompt,
        )

    def _prompt(self) -> StyleAndTextTuples:
        if self._question:
            return [("ansiyellow", f"{self._question} "), ("bold ansicyan", "> ")]
        return [("bold ansicyan", "> ")]

    def _accept(self, buffer: Buffer) -> bool:
        """Enter; the buffer is emptied before, so that a question's answer may refill it."""
        text = buffer.text
        buffer.append_to_history()
        buffer.reset()
        if self._conversation is not None:
            self._conversation.enter(text)
        return True

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def accept(event: KeyPressEvent) -> None:
            event.current_buffer.validate_and_handle()

        @keys.add("escape", "enter")
        def new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c")
        @keys.add(Keys.SIGINT)
        def interrupt(event: KeyPressEvent) -> None:
            self._interrupt(event)

        @keys.add("c-d")
        def leave(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.delete()
            elif self._conversation is not None:
                self._conversation.quit()

        return keys

    def _interrupt(self, event: KeyPressEvent) -> None:
        assert self._conversation is not None
        if event.current_buffer.text and not self._view.live.busy:
            event.current_buffer.reset()
        else:
            self._conversation.interrupt()


class _Commands(AutoSuggest):
    """The rest of a command that was begun."""

    def get_suggestion(self, buffer: Buffer, document: Document) -> Suggestion | None:
        text = document.text
        if len(text) < 2 or not text.startswith("/"):
            return None
        names = [f"/{name}" for name in HELP]
        return next((Suggestion(n[len(text) :]) for n in names if n.startswith(text)), None)


def _edited(editor: Sequence[str], text: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "arguments.json")
        path.write_text(text, "utf-8")
        subprocess.run([*editor, str(path)], check=False)  # noqa: S603 - the person's own editor
        return path.read_text("utf-8").strip()


async def talk(
    client: AsyncClient,
    url: str,
    wish: Wish,
    *,
    tools: Sequence[Tool],
    detail: Detail | None,
    stream: bool,
    first: str | None,
) -> None:
    """A whole chat in this process's terminal.

    Raises:
        ChatError: it cannot begin, or cannot go on.
    """
    terminal = Terminal(Look(colors="NO_COLOR" not in os.environ))
    conversation = Conversation(client, terminal, tools=tools, detail=detail, stream=stream)
    try:
        await connect(client, url)
        await terminal.run(conversation, wish, first)
    except GatewayError as error:
        raise refused(error) from None
    finally:
        await client.close()
    if conversation.session is not None:
        print(f"Go on with: agent-gateway chat --session {conversation.session.id}")
