"""Server tools: Python functions that a model may call, described by their type hints.

A `ServerTool` runs one call and always has a result: a wrong argument, an exception or a timeout
becomes an error that the model sees, never the end of its loop (docs/agents.md). When and for
whom a tool is called, and what is stored of it, does not belong here.

An async function runs in the caller's task. A plain function runs in a thread of the loop's
default executor, so it may block; a thread cannot be stopped, so after a timeout or a Stop its
result is dropped but the function runs on to its end. It may have to wait for a thread: whether it
may begin is asked again in that thread.
"""

import asyncio
import copy
import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, Self, get_type_hints, overload

import msgspec
from msgspec import Struct

from gateway.errors import ConfigurationError
from gateway.runtime.failures import NOT_THEIRS
from gateway.runtime.plain import plain
from protocol.values import ErrorInfo, Name

DEFAULT_TIMEOUT_S = 120.0
MAX_ERROR_CHARACTERS = 2_000

Function = Callable[..., Any]


class NotBegunError(Exception):
    """The function was not called."""


class ToolResult(Struct, frozen=True):
    """What came of one call: an `error`, or else the `output`, any JSON."""

    output: Any = None
    error: ErrorInfo | None = None


class ServerTool(Struct, frozen=True, kw_only=True):
    """A function of the server that a model may call; make one with `of` or `@server_tool`.

    `parameters` is the JSON Schema of its arguments, an object. `approval`: a person is asked
    before each call. `idempotent`: it may be called again when a worker was lost in mid-call.
    """

    name: str
    description: str | None
    parameters: dict[str, Any]
    function: Function
    arguments: type[Struct]  # the same parameters, to convert what a model wrote
    timeout_s: float = DEFAULT_TIMEOUT_S
    approval: bool = False
    idempotent: bool = False

    @classmethod
    def of(
        cls,
        function: Function,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        approval: bool = False,
        idempotent: bool = False,
    ) -> Self:
        """The tool that calls `function`, sync or async, with keyword arguments.

        Its name and docstring are the tool's unless given; an `Args:` section of the docstring,
        or `Annotated[..., Meta(description=...)]`, describes the parameters.

        Raises:
            ConfigurationError: a parameter has no type hint, one that JSON cannot carry, or
                cannot be given by keyword; or the name cannot be a tool's.
        """
        name = str(name or getattr(function, "__name__", ""))
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError:
            raise ConfigurationError(
                f"{name!r} cannot be the name of a tool; give one with name=…"
            ) from None
        text, described = _docstring(inspect.getdoc(_inner(function)) or "")
        arguments = _arguments(name, function, described)
        return cls(
            name=name,
            description=description or text or None,
            parameters=_schema(name, arguments),
            function=function,
            arguments=arguments,
            timeout_s=timeout_s,
            approval=approval,
            idempotent=idempotent,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it were not decorated."""
        return self.function(*args, **kwargs)

    async def run(
        self, arguments: Any, *, may_begin: Callable[[], bool] = lambda: True
    ) -> ToolResult:
        """One call with decoded JSON arguments.

        `may_begin` is asked right before the function is called, in the thread that calls it.
        Cancel-safe: a cancelled call cancels an async function and leaves a plain one to its
        thread.

        Raises:
            NotBegunError: `may_begin` said no. Nothing else is raised, whatever the tool does.
        """
        try:
            values = msgspec.convert({} if arguments is None else arguments, self.arguments)
        except msgspec.ValidationError as error:
            return failed(f"Invalid arguments for {self.name}: {error}")
        keywords = {field: getattr(values, field) for field in self.arguments.__struct_fields__}
        scope = asyncio.timeout(self.timeout_s)
        try:
            async with scope:
                output = await self._invoke(keywords, may_begin)
            return ToolResult(plain(output, "the result"))
        except NotBegunError:
            raise
        except TimeoutError as error:
            if scope.expired():
                text = f"{self.name} did not finish within {self.timeout_s:g} s."
                return ToolResult(error=ErrorInfo("tool.timeout", text))
            return failed(describe(error))
        except (asyncio.CancelledError, *NOT_THEIRS):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a tool raises is for the model
            return failed(describe(error))

    async def _invoke(self, keywords: dict[str, Any], may_begin: Callable[[], bool]) -> Any:
        if _is_async(self.function):
            if not may_begin():
                raise NotBegunError
            return await self.function(**keywords)
        output, error = await asyncio.to_thread(_attempt, self.function, keywords, may_begin)
        if error is not None:
            raise error
        # a partial of a coroutine function, say
        return await output if inspect.isawaitable(output) else output


@overload
def server_tool(function: Function, /) -> ServerTool: ...
@overload
def server_tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    approval: bool = False,
    idempotent: bool = False,
) -> Callable[[Function], ServerTool]: ...
def server_tool(
    function: Function | None = None, /, **options: Any
) -> ServerTool | Callable[[Function], ServerTool]:
    """`ServerTool.of` as a decorator, with or without options."""

    def decorate(function: Function) -> ServerTool:
        return ServerTool.of(function, **options)

    return decorate if function is None else decorate(function)


def failed(text: str) -> ToolResult:
    """The result of a call that went wrong, in words for the model."""
    if len(text) > MAX_ERROR_CHARACTERS:
        text = text[: MAX_ERROR_CHARACTERS - 1] + "…"
    return ToolResult(error=ErrorInfo("tool.failed", text))


def describe(error: BaseException) -> str:
    """The beginning of the error's own text, or its type's name if it has none.

    With the type if that is no `Exception`: the text of `SystemExit(2)` alone would tell nobody.
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a text may fail to be made, like that of a huge number
        text = ""
    if text and not isinstance(error, Exception):
        text = f"{type(error).__name__}: {text}"
    return text[: MAX_ERROR_CHARACTERS + 1] or type(error).__name__


def _is_async(function: Function) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - not whether it can be called, but how
    )


def _attempt(
    function: Function, keywords: dict[str, Any], may_begin: Callable[[], bool]
) -> tuple[Any, BaseException | None]:
    """In the thread. Exceptions come back as values: a future refuses a StopIteration, and a
    `SystemExit` would end the process.
    """
    if not may_begin():
        return None, NotBegunError()
    try:
        return function(**keywords), None
    except StopIteration as error:
        return None, RuntimeError(f"StopIteration: {error}")
    except BaseException as error:  # noqa: BLE001 - raised again in the task
        return None, error


def _arguments(name: str, function: Function, described: dict[str, str]) -> type[Struct]:
    """A Struct with a field for each parameter of the function."""
    inner = _inner(function)
    hinted = inner if inspect.isroutine(inner) else type(inner).__call__
    try:
        hints = get_type_hints(hinted, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"A type hint of the tool {name} cannot be resolved ({error}); use types that the "
            "function's module knows"
        ) from None
    fields: list[tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        where = f"Parameter {parameter.name!r} of the tool {name}"
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise ConfigurationError(f"{where} cannot be given by keyword; name each parameter")
        if parameter.name not in hints:
            raise ConfigurationError(f"{where} has no type hint; add one, such as `str`")
        hint = hints[parameter.name]
        if parameter.name in described:
            hint = Annotated[hint, msgspec.Meta(description=described[parameter.name])]
        fields.append((parameter.name, hint, _default(parameter)))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _inner(function: Function) -> Function:
    """What a partial wraps."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _default(parameter: inspect.Parameter) -> Any:
    default = parameter.default
    if default is parameter.empty:
        return msgspec.NODEFAULT
    if default is None or isinstance(default, (bool, int, float, str)):
        return default
    return msgspec.field(default_factory=lambda: copy.deepcopy(default))


def _schema(name: str, arguments: type[Struct]) -> dict[str, Any]:
    """The JSON Schema of the arguments, an object at the top, as model providers want it."""
    try:
        _, components = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    except TypeError as error:
        raise ConfigurationError(
            f"A parameter of the tool {name} has no JSON form: {error}"
        ) from None
    schema = components.pop(arguments.__name__)
    del schema["title"]
    if components:
        schema["$defs"] = components
    return schema


_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?):\s*$", re.MULTILINE
)
_PARAMETER = re.compile(r"^( +)\*{0,2}(\w+)(?: *\([^)\n]*\))?: *(.*(?:\n\1 +.*)*)", re.MULTILINE)


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """What stands before the first section, and the parameters' texts of `Args:`."""
    pieces = _SECTION.split(text)
    described: dict[str, str] = {}
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        if title in ("Args", "Arguments", "Parameters"):
            for match in _PARAMETER.finditer(body):
                described[match[2]] = " ".join(match[3].split())
    return pieces[0].strip(), described
