"""What a refusal becomes."""

import pytest

from gateway.client.errors import GatewayError, from_frame, usage
from protocol.frames import Error


def test_the_error_of_a_frame() -> None:
    frame = Error(code="rate.limited", message="Slow down.", retryable=True, details={"path": "$"})
    error = from_frame(frame)
    assert (error.code, error.retryable, error.details) == ("rate.limited", True, {"path": "$"})
    assert str(error) == "rate.limited: Slow down."


def test_usage() -> None:
    with pytest.raises(GatewayError, match="do that") as wrong:
        usage("Better do that.")
    assert (wrong.value.code, wrong.value.retryable) == ("client.usage", False)
