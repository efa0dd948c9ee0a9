#!lua flags=allow-oom
-- needs session.lua
-- KEYS: timers; ARGV: base, limit, pause_s
local now = time()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', decimal(now), 'LIMIT', 0, ARGV[2])
local given = {}
for _, session in ipairs(due) do
  if redis.call('EXISTS', names(ARGV[1], session).meta) == 1 then
    redis.call('ZADD', KEYS[1], decimal(now + tonumber(ARGV[3])), session)
    given[#given + 1] = session
  else
    redis.call('ZREM', KEYS[1], session)
  end
end
return given
