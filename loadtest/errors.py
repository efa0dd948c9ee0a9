"""What a person can repair, in one sentence that names the remedy."""


class LoadError(Exception):
    """The load test cannot go on."""
