#!lua flags=allow-oom
-- needs session.lua
-- KEYS: meta, log, snap, timers, [command, [command of an asker that is not the owner]]
-- ARGV: base, session, after, epoch, asker
local base, session, after, epoch, asker = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

local function first_of(entry)
  return tonumber(entry[2][2])
end

-- Where the events start, the snapshot there (false: the caller has the state, or there is none),
-- and the events; nil if they leave a hole.
local function parts(s)
  if after > 0 and epoch == s.epoch and after <= s.seq then
    local entries = redis.call('XRANGE', s.log, '(' .. ARGV[3] .. '-0', '+')
    if after == s.seq or (entries[1] and first_of(entries[1]) <= after + 1) then
      return after, false, entries
    end
  end
  local found = redis.call('HMGET', s.snap, 'epoch', 'seq', 'state')
  local seq, state = 0, false
  if found[1] == s.epoch then
    seq, state = tonumber(found[2]), found[3]
  end
  local entries = redis.call('XRANGE', s.log, string.format('(%.0f-0', seq), '+')
  if seq == s.seq or (entries[1] and first_of(entries[1]) <= seq + 1) then
    return seq, state, entries
  end
end

local s = peek(base, session)
if not s then
  return {'missing'}
end
local share, key = false, KEYS[5]
if asker ~= '' and asker ~= s.owner then
  share, key = s['share:' .. asker], KEYS[6]
  if not share then
    return {'ok', s.session, s.epoch, s.seq, s.version, s.fence, s.owner, s.agent,
      s.deleted and 1 or 0, false, false, 1, 0, 0, false, {}}
  end
end
s = intact(s)
if not s then
  return {'missing'}
end
local seq, state, entries = 0, false, {}
if not s.deleted then
  seq, state, entries = parts(s)
  if not seq then
    if new_epoch(s, s.replid) then
      seq, state, entries = parts(s)
    end
    if not seq then
      return {'missing'}
    end
  end
end
local command = false
if key then
  command = redis.call('GET', key)
end
return {'ok', s.session, s.epoch, s.seq, s.version, s.fence, s.owner, s.agent,
  s.deleted and 1 or 0, command, share, 0, s.bytes, seq, state, entries}
