#!lua flags=allow-oom
-- needs session.lua
-- KEYS: meta, log, snap, timers; ARGV: base, session, at, expect_version
local s = peek(ARGV[1], ARGV[2])
if not s or s.deleted or s.version ~= tonumber(ARGV[4]) then
  return 0
end
if ARGV[3] == '' then
  redis.call('ZREM', s.timers, s.session)
else
  redis.call('ZADD', s.timers, ARGV[3], s.session)
end
return 1
