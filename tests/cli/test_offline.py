"""A token is what the gateway accepts; the schema is the protocol's."""

import json

import pytest

from gateway.auth.signature import SharedSecret
from gateway.auth.token import JwtAuth, Terms
from gateway.cli import main
from gateway.transports.openapi import openapi
from protocol.schema import schema

SECRET = "5" * 32


async def test_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sub", "ann", "--tenant", "acme", "--detail", "answer", "--ttl", "60"]
    assert main(["token", *options, "--secret", SECRET]) == 0
    token = capsys.readouterr().out.strip()
    grant = await JwtAuth(SharedSecret(SECRET)).authenticate(token)
    assert (grant.principal.tenant, grant.principal.subject) == ("acme", "ann")
    assert grant.detail == "answer"


async def test_the_secret_may_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_GATEWAY_AUTH_SECRET", SECRET)
    monkeypatch.setenv("AGENT_GATEWAY_AUTH_AUDIENCE", "us")
    assert main(["token", "--sub", "ann"]) == 0
    token = capsys.readouterr().out.strip()
    await JwtAuth(SharedSecret(SECRET), Terms(audience="us")).authenticate(token)


def test_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(schema()))


def test_the_openapi_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--openapi"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(openapi()))


def test_the_defaults_of_the_gateway_do_not_reach_a_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_GATEWAY_DETAIL", "no such detail")
    assert main(["token", "--sub", "ann", "--secret", SECRET]) == 0
    assert capsys.readouterr().err == ""
