#!lua flags=allow-oom
-- needs session.lua
-- KEYS: meta, log, snap, timers; ARGV: base, session, after, limit, epoch, most_bytes
local base, session, after, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local most_bytes = tonumber(ARGV[6])

local s = open(base, session)
if not s then
  return {'missing'}
end
if ARGV[5] ~= '' and ARGV[5] ~= s.epoch then
  return {'epoch', s.epoch}
end
local found, events, bytes, from = {}, 0, 0, '(' .. ARGV[3] .. '-0'
local step = 4 -- entries may be large
while events < limit and bytes <= most_bytes do
  local entries = redis.call('XRANGE', s.log, from, '+', 'COUNT', math.min(limit - events, step))
  step = math.min(2 * step, 64)
  for _, entry in ipairs(entries) do
    if events >= limit or bytes > most_bytes then
      break
    end
    found[#found + 1] = entry
    local first, count = tonumber(entry[2][2]), tonumber(entry[2][4])
    events = events + count - math.max(0, after + 1 - first)
    bytes = bytes + #entry[2][6]
  end
  if #entries == 0 then
    break
  end
  from = '(' .. entries[#entries][1]
end
-- XRANGE below the first entry gives later ones without a word.
if found[1] and tonumber(found[1][2][2]) > after + 1 then
  return {'trimmed'}
end
if not found[1] and limit > 0 and after < s.seq then
  return {'trimmed'}
end
return {'ok', s.session, found}
