#!lua
-- needs session.lua
-- KEYS: meta, log, snap, timers, [command]
-- ARGV: base, session, owner, agent, count, control, bodies, timer_at, [digest, answer]
local base, session, owner, agent, count, control, bodies, timer_at = unpack(ARGV, 1, 8)

local there = open(base, session)
if there then
  return {'exists', there.owner, there.agent, there.deleted and 1 or 0}
end
local s = names(base, session)
-- What a lost meta left behind is nobody's.
redis.call('DEL', s.meta, s.log, s.snap)
redis.call('ZREM', s.timers, session)
local replid = replication_id()
s.epoch = string.sub(redis.sha1hex(replid .. session .. decimal(time())), 1, 16)
s.seq, s.version, s.entries, s.bytes = 0, 0, 0, 0
store(s, tonumber(count), tonumber(control), bodies)
redis.call('HSET', s.meta, 'session', session, 'owner', owner, 'agent', agent,
  'epoch', s.epoch, 'replid', replid, 'seq', s.seq, 'version', s.version, 'fence', 0,
  'entries', s.entries, 'bytes', s.bytes)
if timer_at ~= '' then
  redis.call('ZADD', s.timers, timer_at, session)
end
if KEYS[5] then
  remember(KEYS[5], ARGV[9], ARGV[10], s.seq)
end
return {'ok', s.epoch, s.seq, s.version, 0}
