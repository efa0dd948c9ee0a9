#!lua
-- Appends of stream events by attempts, each for itself; the hot path of append.lua, which is run
-- for whatever is answered with 0: that one has changed nothing.
-- KEYS: in a Cluster the metas. ARGV, for each: channel, session, epoch, fence, count,
--       '<fence>:<n - 1>:', '<fence>:<n>:', bodies. Answers the last seqs.
local LARGEST_PUBLISH = 65536
local WIDTH = 8
local call, find, format = redis.call, string.find, string.format

local time = call('TIME')
local at = format('%.0f', time[1] * 1000 + time[2] / 1000)
local replid = string.match(call('INFO', 'replication'), 'master_replid:(%x+)')

local function append(channel, session, epoch, fence, count, before, this, bodies)
  local meta, log = channel .. ':meta', channel .. ':log'
  local m = call('HMGET', meta, 'session', 'epoch', 'replid', 'seq', 'version', 'fence', 'n',
    'entries', 'bytes', 'deleted')
  if m[1] ~= session or m[2] ~= epoch or m[3] ~= replid or m[6] ~= fence or m[10]
    or not m[7] or find(m[7], before, 1, true) ~= 1 or call('XLEN', log) ~= m[8] + 0 then
    return 0
  end
  local last = m[4] + count
  local seq = format('%d', last)
  local first = count == '1' and seq or format('%d', m[4] + 1)
  local bytes = format('%d', m[9] + #bodies - count + 1)
  call('XADD', log, seq .. '-0', 'first', first, 'count', count, 'bodies', bodies,
    'at', at, 'bytes', bytes)
  call('HSET', meta, 'seq', seq, 'entries', m[8] + 1, 'bytes', bytes, 'n', this .. seq)
  local news = epoch .. ' ' .. first .. ' ' .. count .. ' ' .. m[5]
  if #bodies <= LARGEST_PUBLISH then
    news = news .. '\n' .. bodies
  end
  call('SPUBLISH', channel, news)
  return last
end

local answers = {}
for i = 1, #ARGV, WIDTH do
  -- What fails here fails in append.lua, too, and is told there.
  local ok, seq = pcall(append, unpack(ARGV, i, i + WIDTH - 1))
  answers[#answers + 1] = ok and seq or 0
end
return answers
