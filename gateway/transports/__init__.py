"""How bytes come in and go out: the WebSocket endpoint and the HTTP routes, as Starlette's.

Nothing here decides anything about a session.
"""
