-- What every script about a session starts with; put behind the script's first line.
-- KEYS only route a script to its slot: `claim` finds its session inside the script, so the names
-- are made here, from `base` (agw:{k}:), all in that one slot.

local FENCE_JUMP = 1000000
local KEPT_S = 86400
local LARGEST_PUBLISH = 65536

local function time()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function decimal(seconds)
  return string.format('%.6f', seconds)
end

local function last_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

-- The newest entry up to `id`, nil if there is none.
local function newest(s, id)
  return redis.call('XREVRANGE', s.log, id, '-', 'COUNT', 1)[1]
end

local function log_start(s)
  local oldest = redis.call('XRANGE', s.log, '-', '+', 'COUNT', 1)[1]
  return oldest and tonumber(oldest[2][2])
end

-- bodies == '': the header alone, "look at the head and read".
local function publish(s, first, count, bodies)
  local news = s.epoch .. ' ' .. first .. ' ' .. count .. ' ' .. s.version
  if bodies ~= '' and #bodies <= LARGEST_PUBLISH then
    news = news .. '\n' .. bodies
  end
  redis.call('SPUBLISH', s.channel, news)
end

local function forget(s)
  redis.call('DEL', s.meta, s.log, s.snap)
  redis.call('ZREM', s.timers, s.session)
  if s.runs then
    redis.call('ZREM', s.runs, s.session)
  end
end

-- Another server (a failover, a restart), or a log that does not fit its meta: what clients and
-- replicas have read may not be what is stored. False if too little is left to fold a state from.
local function new_epoch(s, replid)
  local first, entry = log_start(s), newest(s, '+')
  local last = entry and last_of(entry) or 0
  local snap = tonumber(redis.call('HGET', s.snap, 'seq') or 0)
  if first ~= 1 and (snap == 0 or (first and snap < first - 1)) then
    forget(s)
    return false
  end
  if snap > last then
    redis.call('DEL', s.log)
    last = snap
  end
  s.epoch = string.sub(redis.sha1hex(replid .. s.epoch .. s.session .. decimal(time())), 1, 16)
  s.seq = last
  s.entries = redis.call('XLEN', s.log)
  s.bytes = entry and tonumber(entry[2][10]) or s.bytes
  -- A fence given in the lost tail must not be given again; the live attempt keeps its own. The
  -- time makes two fail-overs differ, of which the second lost what the first has written.
  s.jump = s.jump + FENCE_JUMP + math.floor(time()) % FENCE_JUMP
  redis.call('HSET', s.meta, 'epoch', s.epoch, 'replid', replid, 'seq', s.seq,
    'entries', s.entries, 'bytes', s.bytes, 'jump', s.jump)
  if snap > 0 then
    redis.call('HSET', s.snap, 'epoch', s.epoch)
  end
  publish(s, s.seq + 1, 0, '')
  return true
end

local function replication_id()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
end

local function names(base, session)
  local own = base .. 's:' .. session
  return {
    session = session, base = base, channel = own,
    meta = own .. ':meta', log = own .. ':log', snap = own .. ':snap',
    timers = base .. 'timers', wake = base .. 'wake',
  }
end

-- The meta as it is stored, nil if there is none.
local function peek(base, session)
  local s = names(base, session)
  local fields = redis.call('HGETALL', s.meta)
  for i = 1, #fields, 2 do
    s[fields[i]] = fields[i + 1]
  end
  if not s.epoch then
    return nil
  end
  if s.session ~= session then
    error('meta of another session')
  end
  s.runs = base .. 'runs:' .. s.agent
  s.seq, s.version, s.fence = tonumber(s.seq), tonumber(s.version), tonumber(s.fence)
  s.entries, s.bytes, s.jump = tonumber(s.entries), tonumber(s.bytes), tonumber(s.jump or 0)
  return s
end

-- The same session if its log is what its meta says, under a new epoch if it was not.
local function intact(s)
  if s.deleted then
    return s
  end
  local replid = replication_id()
  if s.replid ~= replid or redis.call('XLEN', s.log) ~= s.entries then
    if not new_epoch(s, replid) then
      return nil
    end
  end
  return s
end

local function open(base, session)
  local s = peek(base, session)
  return s and intact(s)
end

-- First write of its script: what it refuses has changed nothing. False: the log is ahead of meta.
-- An entry says when it came and how many bytes of events the log has had with it: for trimming.
local function store(s, count, control, bodies)
  if count == 0 then
    return true
  end
  local first = s.seq + 1
  local last = s.seq + count
  local bytes = s.bytes + #bodies - (count - 1)
  local added = redis.pcall('XADD', s.log, string.format('%.0f-0', last),
    'first', first, 'count', count, 'bodies', bodies,
    'at', string.format('%.0f', time() * 1000), 'bytes', bytes)
  if type(added) == 'table' and added.err then
    if string.find(added.err, 'equal or smaller', 1, true) then
      return false
    end
    error(added)
  end
  s.seq, s.version, s.entries, s.bytes = last, s.version + control, s.entries + 1, bytes
  publish(s, first, count, bodies)
  return true
end

local function raised(s)
  return s.fence + 1 + s.jump
end

local function remember(key, digest, answer, seq)
  redis.call('SET', key, digest .. '\n' .. seq .. '\n' .. answer, 'EX', KEPT_S)
end

local function claimable(s, at)
  redis.call('ZADD', s.runs, at, s.session)
  redis.call('SPUBLISH', s.wake, s.agent .. ' ' .. at)
end
