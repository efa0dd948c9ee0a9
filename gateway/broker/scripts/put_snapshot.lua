#!lua
-- needs session.lua
-- KEYS: meta, log, snap, timers; ARGV: base, session, epoch, seq, state, keep_events
local base, session, epoch, seq, state, keep = unpack(ARGV)
seq, keep = tonumber(seq), tonumber(keep)

local s = open(base, session)
if not s or s.deleted or s.epoch ~= epoch or seq > s.seq then
  return 0
end
local there = redis.call('HMGET', s.snap, 'epoch', 'seq')
if there[1] == epoch and tonumber(there[2]) >= seq then
  return 0
end
redis.call('HSET', s.snap, 'epoch', epoch, 'seq', seq, 'state', state)
if seq > keep then
  redis.call('XTRIM', s.log, 'MINID', string.format('%.0f-0', seq - keep + 1))
  redis.call('HSET', s.meta, 'entries', redis.call('XLEN', s.log))
end
return 1
