#!lua flags=allow-oom
-- needs session.lua
-- KEYS: timers; ARGV: base, limit, pause_s. The due sessions; session, owner of deleted ones.
local now = time()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', decimal(now), 'LIMIT', 0, ARGV[2])
local given, deleted = {}, {}
for _, session in ipairs(due) do
  local meta = redis.call('HMGET', names(ARGV[1], session).meta, 'owner', 'deleted')
  if meta[1] then
    redis.call('ZADD', KEYS[1], decimal(now + tonumber(ARGV[3])), session)
    if meta[2] then
      deleted[#deleted + 1] = session
      deleted[#deleted + 1] = meta[1]
    else
      given[#given + 1] = session
    end
  else
    redis.call('ZREM', KEYS[1], session)
  end
end
return {given, deleted}
