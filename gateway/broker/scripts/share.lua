#!lua
-- needs session.lua
-- KEYS: meta, log, snap, timers; ARGV: base, session, principal, access ('': no more), most
local s = peek(ARGV[1], ARGV[2])
if not s or s.deleted then
  return {'missing'}
end
local field, access, most = 'share:' .. ARGV[3], ARGV[4], tonumber(ARGV[5])
if access == '' then
  redis.call('HDEL', s.meta, field)
  return {'ok', 1}
end
local count = 0
for name in pairs(s) do
  if string.sub(name, 1, 6) == 'share:' then
    count = count + 1
  end
end
if not s[field] and count >= most then
  return {'ok', 0}
end
redis.call('HSET', s.meta, field, access)
return {'ok', 1}
