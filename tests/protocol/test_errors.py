import pytest

from protocol.errors import ProtocolError, excerpt, malformed


def test_an_error_keeps_its_data() -> None:
    error = ProtocolError("session.busy", details={"run": "r_1"}, id="k_1", session="s_1")
    assert error.message == "The session has a live run."
    assert str(error) == "session.busy: The session has a live run."
    assert error.args == ("session.busy", "The session has a live run.")
    assert not error.retryable
    assert ProtocolError("internal", "Oops.").retryable


def test_a_code_that_is_in_no_table_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        ProtocolError("made.up")


def test_malformed_names_the_field() -> None:
    error = malformed("Wrong.", "$.content", id="k_1")
    assert (error.code, error.details, error.id) == (
        "frame.malformed",
        {"path": "$.content"},
        "k_1",
    )
    assert malformed("Wrong.").details == {"path": "$"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain – é", "plain – é"),
        ("a\r\n\x00\x1b[31mb", "a????[31mb"),
        ("<b>&amp;</b>", "?b??amp;?/b?"),
        ("\u202eevil\u2028", "?evil?"),
        (7, "7"),
    ],
)
def test_an_excerpt_is_safe_to_show(value: object, text: str) -> None:
    assert excerpt(value) == text


def test_an_excerpt_is_short() -> None:
    assert excerpt("x" * 64) == "x" * 64
    assert excerpt("x" * 65) == "x" * 63 + "…"
    assert excerpt("x" * 10**6, 8) == "x" * 7 + "…"
