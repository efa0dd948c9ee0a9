#!lua
-- needs session.lua
-- KEYS: meta, log, snap, timers
-- ARGV: base, session, epoch, seq, state, keep_events, keep_bytes, keep_s; '' is "all"
local base, session, epoch, seq, state, keep_events = unpack(ARGV, 1, 6)
local keep_bytes, keep_s = tonumber(ARGV[7]), tonumber(ARGV[8])
seq, keep_events = tonumber(seq), tonumber(keep_events)

local function id_of(n)
  return string.format('%.0f-0', n)
end

-- The end of what must go, entry by entry from the oldest on, for its size or its age.
local function too_much(s, bytes, oldest)
  local cut, from = nil, '-'
  while true do
    local entries = redis.call('XRANGE', s.log, from, id_of(seq), 'COUNT', 64)
    for _, entry in ipairs(entries) do
      local at, had = tonumber(entry[2][8]), tonumber(entry[2][10])
      if not (keep_bytes and bytes - had >= keep_bytes) and not (oldest and at < oldest) then
        return cut
      end
      cut = last_of(entry)
    end
    if #entries == 0 then
      return cut
    end
    from = '(' .. entries[#entries][1]
  end
end

local s = open(base, session)
if not s or s.deleted or s.epoch ~= epoch or seq > s.seq then
  return 0
end
local there = redis.call('HMGET', s.snap, 'epoch', 'seq')
if there[1] == epoch and tonumber(there[2]) >= seq then
  return 0
end
redis.call('HSET', s.snap, 'epoch', epoch, 'seq', seq, 'state', state)
if seq > keep_events then
  redis.call('XTRIM', s.log, 'MINID', id_of(seq - keep_events + 1))
end
local last = newest(s, id_of(seq))
if last and (keep_bytes or keep_s) then
  local cut = too_much(s, tonumber(last[2][10]), keep_s and (time() - keep_s) * 1000)
  if cut then
    redis.call('XTRIM', s.log, 'MINID', id_of(cut + 1))
  end
end
redis.call('HSET', s.meta, 'entries', redis.call('XLEN', s.log))
return 1
