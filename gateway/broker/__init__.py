"""The log of every session, leases, timers and live news: one contract, two implementations."""
