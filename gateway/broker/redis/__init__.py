"""The broker in Redis (>= 7.0) or Valkey; the only package that imports redis."""
