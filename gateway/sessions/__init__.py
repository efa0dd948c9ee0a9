"""What may happen in a session: the decider, and the store that makes its decisions true."""
