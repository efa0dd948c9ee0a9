"""Steps and ticks are values: frozen, with the defaults that workers rely on."""

import msgspec
import pytest

from gateway.sessions import inputs


def steps() -> list[type[inputs.Step]]:
    return list(inputs.AnyStep.__args__)


def test_every_step_is_one_of_the_union() -> None:
    assert set(steps()) == set(inputs.Step.__subclasses__())


def test_values_are_frozen() -> None:
    for step in [*steps(), inputs.CallRequest, inputs.Tick]:
        assert step.__struct_config__.frozen, step


def test_lists_are_not_shared() -> None:
    assert inputs.StartMessage(message="m").read is not inputs.StartMessage(message="m").read


@pytest.mark.parametrize("step", [inputs.EndMessage(message="m_1"), inputs.CompleteRun()])
def test_a_plain_end_says_nothing(step: inputs.AnyStep) -> None:
    assert not any(msgspec.structs.astuple(step)[-2:])
