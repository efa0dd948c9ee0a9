"""Constants in round numbers, so that what the capacity model makes of them can be seen."""

from loadtest.scale_model import MIB, Constants

ROUND = Constants(
    gateway_alone_us=20,
    gateway_event_us=10,
    gateway_joined_us=2,
    gateway_copy_us=4,
    gateway_copy_joined_us=1,
    gateway_command_us=100,
    gateway_resume_us=1_000,
    gateway_socket_us_per_s=5,
    gateway_bytes=64 * MIB,
    connection_bytes=20_000,
    subscription_bytes=1_000,
    feed_bytes=2_000,
    feed_event_bytes=250,
    worker_token_20_us=20,
    worker_token_60_us=12,
    worker_events_20=1.0,
    worker_events_60=0.5,
    worker_bytes=64 * MIB,
    run_bytes=100_000,
    redis_append_us=10,
    redis_copy_us=5,
    redis_command_us=50,
    redis_session_us_per_s=1,
    redis_process_us_per_s=1_000,
    redis_session_bytes=1_000,
    redis_event_bytes=300,
)
