#!lua flags=allow-oom
-- KEYS: a hash, name -> '<seconds> <value>'; ARGV: keep_s, name, value, name, value, ...
-- Entries older than keep_s go. The field '' holds since when the hash was never without an entry.
-- Also when the memory is full: what is written replaces itself, and who cannot say that it is
-- there would be taken for dead.
local hash, keep_s = KEYS[1], tonumber(ARGV[1])
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local stamp = string.format('%.3f', now)
local held, left = redis.call('HGETALL', hash), false
for i = 1, #held, 2 do
  if held[i] ~= '' then
    local at = tonumber(string.match(held[i + 1], '^[%d.]+'))
    if at and at > now - keep_s then
      left = true
    else
      redis.call('HDEL', hash, held[i])
    end
  end
end
if not left then
  redis.call('HSET', hash, '', stamp)
end
for i = 2, #ARGV, 2 do
  redis.call('HSET', hash, ARGV[i], stamp .. ' ' .. ARGV[i + 1])
end
redis.call('EXPIRE', hash, keep_s)
return 1
