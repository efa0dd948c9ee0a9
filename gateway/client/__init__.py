"""The Python client of the gateway (docs/python-client.md)."""

from gateway.client.agent import AsyncAgent, Reply
from gateway.client.blocking import Agent, BlockingRun, BlockingSession, Client, Inference
from gateway.client.client import AsyncClient, AsyncInference
from gateway.client.errors import GatewayError
from gateway.client.job import ToolRun
from gateway.client.run import AsyncRun, Update
from gateway.client.session import Sent, Session, Started
from gateway.client.stream import StateReset
from gateway.client.tool import (
    ClientTool,
    array,
    boolean,
    enum_of,
    integer,
    number,
    obj,
    optional,
    string,
    tool,
)

__all__ = [
    "Agent",
    "AsyncAgent",
    "AsyncClient",
    "AsyncInference",
    "AsyncRun",
    "BlockingRun",
    "BlockingSession",
    "Client",
    "ClientTool",
    "GatewayError",
    "Inference",
    "Reply",
    "Sent",
    "Session",
    "Started",
    "StateReset",
    "ToolRun",
    "Update",
    "array",
    "boolean",
    "enum_of",
    "integer",
    "number",
    "obj",
    "optional",
    "string",
    "tool",
]
