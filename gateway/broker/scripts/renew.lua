#!lua flags=allow-oom
-- needs session.lua
-- KEYS: meta, log, snap, timers; ARGV: base, session, fence, lease_s
local s = peek(ARGV[1], ARGV[2])
if not s or not s.worker or s.fence ~= tonumber(ARGV[3]) then
  return {'fenced'}
end
local lease_until = decimal(time() + tonumber(ARGV[4]))
redis.call('ZADD', s.runs, lease_until, s.session)
return {'ok', lease_until}
