"""The Python client of the gateway (docs/python-client.md)."""
