#!lua
-- needs session.lua
-- KEYS: meta, log, snap, timers, [command]
-- ARGV: base, session, epoch, count, control, bodies, expect_version, fence, n, raise_fence,
--       claimable_at, timer_at, delete, [digest, answer]; '' is "not given".
local base, session, epoch, count, control, bodies = unpack(ARGV, 1, 6)
local expect_version, fence, n, raise_fence, claimable_at, timer_at, delete = unpack(ARGV, 7, 13)
local command, digest, answer = KEYS[5], ARGV[14], ARGV[15]

local s = open(base, session)
if not s or s.deleted then
  return {'missing'}
end
if s.epoch ~= epoch then
  return {'epoch', s.epoch}
end
local last_fence, last_n, last_seq = string.match(s.n or '', '^(%d+):(%d+):(%d+)$')
if n ~= '' and last_fence == fence and last_n == n then
  return {'ok', tonumber(last_seq)}
end
local stored = command and redis.call('GET', command)
if stored then
  return {'duplicate', stored}
end
if fence ~= '' and tonumber(fence) ~= s.fence then
  return {'fenced'}
end
if n ~= '' and last_fence == fence and tonumber(n) < tonumber(last_n) then
  return {'fenced'}
end
if expect_version ~= '' and tonumber(expect_version) ~= s.version then
  return {'conflict'}
end
if not store(s, tonumber(count), tonumber(control), bodies) then
  if not new_epoch(s, s.replid) then
    return {'missing'}
  end
  return {'epoch', s.epoch}
end

local meta = {'seq', s.seq, 'version', s.version, 'entries', s.entries, 'bytes', s.bytes}
if n ~= '' then
  meta[#meta + 1] = 'n'
  meta[#meta + 1] = fence .. ':' .. n .. ':' .. s.seq
end
if raise_fence ~= '' then
  meta[#meta + 1] = 'fence'
  meta[#meta + 1] = raised(s)
end
redis.call('HSET', s.meta, unpack(meta))
if raise_fence ~= '' then
  redis.call('HDEL', s.meta, 'worker', 'jump')
  redis.call('ZREM', s.runs, session)
  s.worker = nil
end
if claimable_at ~= '' and not s.worker then
  claimable(s, claimable_at)
end
if timer_at == 'inf' then
  redis.call('ZREM', s.timers, session)
elseif timer_at ~= '' then
  redis.call('ZADD', s.timers, timer_at, session)
end
if command then
  remember(command, digest, answer, s.seq)
end
if delete ~= '' then
  redis.call('XTRIM', s.log, 'MAXLEN', 1)
  redis.call('HSET', s.meta, 'deleted', 1, 'entries', 1)
  redis.call('HDEL', s.meta, 'worker')
  redis.call('DEL', s.snap)
  -- due_timers hands it out until it has left its owner's list, which is in another slot.
  redis.call('ZADD', s.timers, decimal(time()), session)
  redis.call('ZREM', s.runs, session)
  redis.call('EXPIRE', s.meta, KEPT_S)
  redis.call('EXPIRE', s.log, KEPT_S)
end
return {'ok', s.seq}
