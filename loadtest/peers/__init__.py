"""The same load on other products, in turn with ours; `python -m loadtest peers --help`."""
