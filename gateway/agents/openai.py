"""`openai`: an agent for any OpenAI-compatible endpoint, with tools of the page and of the server.

One run is a loop of model steps, each a message: what the model streams goes to the message as it
comes, its calls are awaited together, and their results go back with the next request, until a
step calls nothing. Between two steps it reads what people sent to steer it. All state is in the
session's log, so the run goes on from there on any worker (`resume = "history"`).

How providers spell things belongs to `openai_stream`, what goes back to them to `openai_history`,
HTTP to `openai_model`.
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, Self, assert_never

import httpx2
import msgspec
from msgspec import Struct, structs

from gateway.agents.openai_calls import CallArguments, CallExtra, CallRepeated, CallStarted
from gateway.agents.openai_history import (
    CallData,
    Conversation,
    ThinkingData,
    function_names,
    function_tools,
    merge_details,
    request_messages,
)
from gateway.agents.openai_model import Endpoint, ModelClient, ModelFailed
from gateway.agents.openai_stream import (
    Delta,
    Finished,
    JsonObject,
    ModelError,
    PartSeen,
    ProviderData,
    ReasoningField,
    TextDelta,
    ThinkingDelta,
    UsageSeen,
)
from gateway.errors import ConfigurationError
from gateway.runtime.context import RunContext
from gateway.runtime.failures import AgentError
from gateway.runtime.gate import THINK_TAGS, Preamble, Tags
from gateway.runtime.history import HistoryMessage
from gateway.runtime.tools import ServerTool
from gateway.runtime.writer import CallWriter, MessageWriter
from protocol.values import FinishReason, ThinkingPart, Tool

DEFAULT_BASE_URL = "https://api.openai.com/v1"


class OpenAIOptions(Struct, frozen=True, kw_only=True):
    """What is seldom set. `request` is merged into each request's body (`temperature`, …).

    `tags`, `marker` and `opened` are the gate's. Of an endpoint that refuses `stream_options`
    switch `include_usage` off.
    """

    name: str = "openai"
    description: str | None = None
    """What `GET /v1/agents` says of it; by default which model answers."""
    max_steps: int = 50
    include_usage: bool = True
    request: dict[str, Any] = {}
    tags: Tags = THINK_TAGS
    marker: str | None = None
    opened: bool = False
    retries: int = 3
    silence_s: float = 600.0


class OpenAIAgent:
    """Runs a model behind `base_url` (which ends in `/v1`, mostly); see the module.

    Raises:
        ConfigurationError: there is no model, the URL is none, or the key cannot be sent.
    """

    resume: Literal["history"] = "history"

    def __init__(
        self,
        *,
        model: str,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str = "",
        system: str | None = None,
        tools: Sequence[ServerTool] = (),
        preamble: Preamble = "show",
        options: OpenAIOptions | None = None,
    ) -> None:
        if not model:
            raise ConfigurationError("The openai agent needs a model: set OPENAI_MODEL.")
        if not _is_http(base_url):
            raise ConfigurationError(
                "The openai agent needs a URL with http:// or https://: check OPENAI_BASE_URL."
            )
        api_key = api_key.strip()
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
            raise ConfigurationError(
                "The API key holds what no header can: check OPENAI_API_KEY for line breaks,"
                " blanks and quotes."
            )
        self.options = options or OpenAIOptions()
        self.name = self.options.name
        self.description = self.options.description or f"Answers with the model {model}."
        self.model = model
        self.system = system
        self.tools = tuple(tools)
        self.preamble: Preamble = preamble
        self._tls = httpx2.create_ssl_context()  # once: reading the certificates takes long
        self.endpoint = Endpoint(
            base_url=base_url,
            api_key=api_key,
            retries=self.options.retries,
            silence_s=self.options.silence_s,
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The built-in `openai`: OPENAI_MODEL, _BASE_URL, _API_KEY and _SYSTEM.

        Raises:
            ConfigurationError: see the class.
        """
        return cls(
            model=environment.get("OPENAI_MODEL", ""),
            base_url=environment.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL,
            api_key=environment.get("OPENAI_API_KEY", ""),
            system=environment.get("OPENAI_SYSTEM") or None,
        )

    async def __call__(self, run: RunContext) -> None:
        """One run. Raises `AgentError`: `model.failed`, or too many steps."""
        if _is_answered(run.messages):
            return

        async def waiting(wait_s: float) -> None:
            await run.activity("waiting_for_model", f"waiting for the model, {wait_s:.0f} s")

        async with ModelClient(
            self.endpoint, tls=self._tls, ready=run.ready, waiting=waiting
        ) as client:
            while True:
                body = self._request(run)
                async with run.message(
                    preamble=self.preamble,
                    tags=self.options.tags,
                    marker=self.options.marker,
                    opened=self.options.opened,
                ) as message:
                    step = _Step(message, self.model, run.tools)
                    try:
                        async with aclosing(client.answer(body)) as answer:
                            async for deltas in answer:
                                for delta in deltas:
                                    await step.take(delta)
                    except ModelFailed as error:
                        raise AgentError("model.failed", str(error)) from error
                    await step.close()
                if not step.calls or step.cut:
                    # The next answer would be cut in the same place.
                    run.finish(step.finish_reason)
                    return

    def _request(self, run: RunContext) -> JsonObject:
        """The body of the next request; too many steps are an error here."""
        messages = run.messages
        steps = sum(message.mine and message.role == "assistant" for message in messages)
        if steps >= self.options.max_steps:
            raise AgentError(
                "agent.failed",
                f"The model did not come to an end within {steps} steps (max_steps).",
            )
        conversation = Conversation(
            messages=messages, model=self.model, system=self.system, input=run.input
        )
        body: JsonObject = {
            "model": self.model,
            "messages": request_messages(conversation),
            "stream": True,
        }
        if self.options.include_usage:
            body["stream_options"] = {"include_usage": True}
        if tools := run.tools:
            body["tools"] = function_tools(tools)
        return body | self.options.request


def _is_answered(messages: Sequence[HistoryMessage]) -> bool:
    """Whether an attempt was lost between the last answer and the end of the run."""
    last = messages[-1] if messages else None
    return (
        last is not None
        and last.mine
        and last.role == "assistant"
        and not last.calls
        and not last.interrupted
    )


def _is_http(url: str) -> bool:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


class _Step:
    """One model step on its way into its message."""

    def __init__(self, message: MessageWriter, model: str, tools: Sequence[Tool]) -> None:
        self.calls: dict[int, CallWriter] = {}
        self.finish_reason: FinishReason = "other"
        self._message = message
        self._model = model
        self._names = {sent: own for own, sent in function_names(t.name for t in tools).items()}
        self._started: dict[int, CallStarted] = {}
        self._thinking = False  # the last that came
        self._field: ReasoningField | None = None
        self._details: list[JsonObject] = []  # not yet in the message

    @property
    def cut(self) -> bool:
        """Whether the model's limit of tokens cut the arguments of a call."""
        return self.finish_reason == "length" and any(not c.whole for c in self.calls.values())

    async def take(self, delta: Delta) -> None:
        """The next of the model's deltas."""
        match delta:
            case ThinkingDelta():
                self._thinking, self._field = True, delta.field
                await self._message.think(delta.text)
            case TextDelta():
                await self._sign()
                await self._message.write(delta.text)
            case CallStarted():
                await self._sign()
                await self._call(delta)
            case CallArguments():
                await self.calls[delta.index].arguments(delta.text)
            case CallRepeated():
                self.calls[delta.index].repeat(delta.text)
            case CallExtra():
                started = structs.replace(self._started[delta.index], extra=delta.extra)
                await self.calls[delta.index].sign(self._private(started))
            case PartSeen():
                await self._sign()
                await self._message.part(delta.content)
            case ProviderData():
                merge_details(self._details, delta.value)
            case UsageSeen():
                self._message.usage(delta.usage)
            case Finished():
                self.finish_reason = delta.reason
            case ModelError():
                raise AssertionError("the client raises it")
            case _:
                assert_never(delta)

    async def close(self) -> None:
        """The model has said everything."""
        await self._sign()

    async def _call(self, delta: CallStarted) -> None:
        name = self._names.get(delta.name, delta.name)
        self._started[delta.index] = delta
        self.calls[delta.index] = await self._message.call(name, provider=self._private(delta))

    def _private(self, call: CallStarted) -> Any:
        """What is kept with the call for the requests that follow."""
        data = CallData(model=self._model, id=call.id, extra=call.extra, reasoning=self._field)
        return msgspec.to_builtins(data)

    async def _sign(self) -> None:
        """Keeps the private data with the thinking that it belongs to, or with an empty one."""
        thinking, self._thinking = self._thinking, False
        details, self._details = self._details, []
        if not details:
            return
        data = msgspec.to_builtins(ThinkingData(self._model, details))
        if thinking:
            await self._message.sign(data)
        else:
            await self._message.part(ThinkingPart("", data))
