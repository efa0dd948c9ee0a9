"""Measures a gateway over the real wire; `python -m loadtest --help`."""
