#!lua flags=allow-oom
-- needs session.lua
-- KEYS: meta, log, snap, timers; ARGV: base, session, fence, claimable_at, expect_version
local s = peek(ARGV[1], ARGV[2])
if not s or not s.worker or s.fence ~= tonumber(ARGV[3]) then
  return {'fenced'}
end
if ARGV[5] ~= '' and s.version ~= tonumber(ARGV[5]) then
  return {'conflict'}
end
redis.call('HDEL', s.meta, 'worker')
if ARGV[4] == '' then
  redis.call('ZREM', s.runs, s.session)
else
  claimable(s, ARGV[4])
end
return {'ok'}
