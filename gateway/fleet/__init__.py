"""The processes that share a broker: what each says of itself, and which agents they offer."""
