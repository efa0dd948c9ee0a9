"""From the broker to connections: feeds, subscriptions with cursors, outboxes, the protocol.

Wake up, then pull (docs/architecture.md): news of a session goes into its feed; a connection
is told "session X has news" and pulls what lies behind its cursors. No sockets here: a
`peer.Peer` is whatever carries text messages.
"""
