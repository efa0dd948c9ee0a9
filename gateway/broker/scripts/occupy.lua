#!lua
-- The busy sessions of one owner, with their versions before they became busy.
-- KEYS: busy, looked; ARGV: session, version, most, ttl_s, looked_s
-- 1: it is in; else those that are, nothing if they were looked through lately.
local busy, session = KEYS[1], ARGV[1]
if not redis.call('ZSCORE', busy, session) and redis.call('ZCARD', busy) >= tonumber(ARGV[3]) then
  if redis.call('SET', KEYS[2], '', 'NX', 'EX', ARGV[5]) then
    return redis.call('ZRANGE', busy, 0, -1)
  end
  return {}
end
redis.call('ZADD', busy, ARGV[2], session)
redis.call('EXPIRE', busy, ARGV[4])
return 1
