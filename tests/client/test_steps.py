"""The inputs and effects are values, and the machine and the client know all of them."""

from typing import get_args

from gateway.client import steps
from gateway.client.client import AsyncClient
from gateway.client.connection import Connection


def test_the_machine_takes_every_input() -> None:
    assert set(Connection.inputs) == set(get_args(steps.Input))


def test_the_client_does_every_effect() -> None:
    assert set(AsyncClient._do) == set(get_args(steps.Effect))


def test_they_compare_by_value() -> None:
    assert steps.Closed(1, 1006) == steps.Closed(1, 1006, "")
    assert steps.Connect(1) != steps.Close(1)
