"""Agent Gateway: one WebSocket per browser client carries many agent sessions.

Nothing is imported eagerly; `gateway.app.create_app` composes a gateway, `gateway.client` talks
to one, `gateway.agents` and `gateway.runtime` hold what an agent's author needs.
"""

__version__ = "0.1.0"
