"""The paths that are watched, by name."""

from tests.speed import delivery, wires, worker
from tests.speed.path import Open

PATHS: dict[str, Open] = {
    "broadcast": delivery.broadcast,
    "multiplex": delivery.multiplex,
    "multiplex_answer": delivery.multiplex_answer,
    "up": delivery.up,
    "worker": worker.written,
    "redis_news": wires.news,
    "redis_appends": wires.appends,
}
