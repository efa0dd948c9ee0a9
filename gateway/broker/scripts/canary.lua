#!lua flags=allow-oom
-- KEYS: a name in the slot of the channel; ARGV: channel, nonce. The server's time.
redis.call('SPUBLISH', ARGV[1], ARGV[2])
local t = redis.call('TIME')
return {t[1], t[2]}
