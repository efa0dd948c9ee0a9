"""Settings that exist can work; what cannot names the remedy."""

import dataclasses
import inspect
from typing import Any

import pytest

from gateway.errors import ConfigurationError
from gateway.settings import CHANGEABLE, Settings, WorkerSettings, is_loopback, taken_over

SECRET = "0123456789abcdef" * 2
JWKS = {"auth": "jwt", "auth_jwks_url": "https://a.example/keys"}


def test_the_defaults_work() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.broker) == ("127.0.0.1", None, "memory://")
    assert settings.agents == ("echo",)
    assert settings.auth == "none"


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]  # the point of the test


def test_lists_may_be_joined_by_commas_and_repeated() -> None:
    settings = Settings(agents=("echo, scripted", "a.b:c", "echo"))
    assert settings.agents == ("echo", "scripted", "a.b:c")
    settings = Settings(allowed_origins=("https://a.example/,http://localhost:3000", "null"))
    assert settings.allowed_origins == ("https://a.example", "http://localhost:3000", "null")


def test_origins_are_as_browsers_write_them() -> None:
    given = ("HTTPS://App.Example.com:443/", "http://a.example:80", "https://[::1]:8443", "Null")
    assert Settings(allowed_origins=given).allowed_origins == (
        *("https://app.example.com", "http://a.example", "https://[::1]:8443", "null"),
    )


def test_proxies_are_addresses_and_networks() -> None:
    settings = Settings(trusted_proxies=("10.0.0.7, 10.1.0.0/16", "2001:db8::/48"))
    assert settings.trusted_proxies == ("10.0.0.7", "10.1.0.0/16", "2001:db8::/48")


def test_a_person_gets_more_time_to_say_hello() -> None:
    assert Settings().hello_timeout_ms == 60_000
    assert Settings(auth="jwt", auth_secret=SECRET).hello_timeout_ms == 5_000
    assert Settings(hello_ms=7).hello_timeout_ms == 7


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"port": 65_536}, "AGENT_GATEWAY_PORT"),
        ({"port": "8000"}, "AGENT_GATEWAY_PORT"),
        ({"lease_ms": 0}, "--lease-ms"),
        ({"detail": "all"}, "--detail"),
        ({"processes": 2}, "--broker redis://"),
        ({"host": "0.0.0.0"}, "--insecure"),
        ({"host": "::"}, "--insecure"),
        ({"host": "gateway.example"}, "--insecure"),
        ({"auth": "jwt"}, "openssl rand -hex 32"),
        ({"auth": "jwt", "auth_secret": "short"}, "openssl rand -hex 32"),
        ({"auth": "jwt", "auth_secret": SECRET, "auth_secret_previous": "short"}, "openssl"),
        ({"auth": "jwt", "auth_secret": SECRET, "auth_jwks_url": "https://a.example"}, "exclude"),
        ({"auth": "jwt", "auth_jwks_url": "http://a.example/keys"}, "https://"),
        ({"auth": "jwt", "auth_jwks_url": "https://ann:pw@a.example/keys"}, "https://"),
        ({"auth": "jwt", "auth_jwks_url": "https:///keys"}, "https://"),
        ({"auth": "jwt", "auth_jwks_url": "file:///keys"}, "https://"),
        (
            {**JWKS, "auth_secret_previous": SECRET},
            "auth_secret alone",
        ),
        ({**JWKS, "auth_algorithm": "HS256"}, "--auth-algorithm"),
        ({**JWKS, "auth_algorithm": "none"}, "--auth-algorithm"),
        ({**JWKS, "auth_audience": ""}, "--auth-audience"),
        ({"allowed_origins": ("*",)}, "https://app.example.com"),
        ({"allowed_origins": ("https://a.example/path",)}, "without a path"),
        ({"allowed_origins": ("https://ann@a.example",)}, "https://app.example.com"),
        ({"allowed_origins": ("https://a.example?b",)}, "https://app.example.com"),
        ({"allowed_origins": ("a.example",)}, "https://app.example.com"),
        ({"trusted_proxies": ("proxy.example",)}, "10.0.0.7 or 10.0.0.0/24"),
        ({"trusted_proxies": ("10.0.0.7/24",)}, "10.0.0.7 or 10.0.0.0/24"),
        ({"trusted_proxies": ("*",)}, "10.0.0.7 or 10.0.0.0/24"),
        ({"lease_renew_ms": 20_000}, "renewed well before"),
        ({"heartbeat_ms": 40_001}, "45 s of silence"),
    ],
)
def test_an_error_names_the_remedy(values: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    assert remedy in str(caught.value)
    assert "short" not in str(caught.value).split()


@pytest.mark.parametrize(
    "values",
    [
        {"host": "0.0.0.0", "insecure": True},
        {"host": "0.0.0.0", "auth": "jwt", "auth_secret": SECRET},
        {"auth_jwks_url": "http://127.0.0.1:8080/keys", "auth": "jwt"},
        {**JWKS, "auth_algorithm": "EdDSA", "auth_issuer": "https://a.example/"},
        {"host": "::1"},
        {"host": "localhost"},
        {"processes": 2, "broker": "redis://127.0.0.1:6379/0"},
        {"port": 0},
    ],
)
def test_what_can_work_is_accepted(values: dict[str, Any]) -> None:
    settings = Settings(**values)
    assert all(getattr(settings, name) == value for name, value in values.items())


def test_loopback() -> None:
    assert is_loopback("127.8.8.8")
    assert is_loopback("[::1]")
    assert not is_loopback("127.0.0.1.example")


@pytest.mark.parametrize("kind", [WorkerSettings, Settings])
def test_every_option_is_explained(kind: type[WorkerSettings]) -> None:
    source = "".join(inspect.getsource(base) for base in (WorkerSettings, Settings))
    for field in dataclasses.fields(kind):
        _, _, after = source.partition(f"    {field.name}: ")
        assert after.split("\n")[1].strip().startswith('"""'), field.name


def test_a_running_process_takes_what_it_can_change() -> None:
    taken = taken_over(Settings(), Settings(detail="full", port=7, ack_timeout_ms=9))
    assert taken.settings == Settings(detail="full", ack_timeout_ms=9)
    assert taken.changed == ["detail", "ack_timeout_ms"]
    assert taken.needs_restart == ["port"]


def test_what_it_takes_must_go_with_what_it_keeps() -> None:
    signed = Settings(auth="jwt", auth_secret=SECRET)
    with pytest.raises(ConfigurationError, match="AGENT_GATEWAY_AUTH_SECRET"):
        taken_over(signed, Settings())


def test_what_can_be_changed_are_settings() -> None:
    assert {field.name for field in dataclasses.fields(Settings)} > CHANGEABLE
