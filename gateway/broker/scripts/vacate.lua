#!lua flags=allow-oom
-- KEYS: busy; ARGV: session, version
local since = redis.call('ZSCORE', KEYS[1], ARGV[1])
if since and tonumber(since) < tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
