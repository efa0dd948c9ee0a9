#!lua
-- needs session.lua
-- KEYS: the queues of one shard, one per agent; ARGV: base, worker, lease_s, spare_s
-- After an outage a lease that ran out meanwhile is spared for `spare_s`: its holder renews first.
local base, worker, lease_s, spare_s = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local LONGEST_SEARCH = 64
local SPARED_AGAIN_S = 15

-- Per queue its earliest time, '' if it is empty; and the earliest of all.
local function firsts()
  local times, best, best_at, best_queue = {}, nil, nil, nil
  for i, queue in ipairs(KEYS) do
    local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
    times[i] = first[2] or ''
    local at = tonumber(first[2])
    if at and (not best_at or at < best_at) then
      best, best_at, best_queue = first[1], at, queue
    end
  end
  return times, best, best_at, best_queue
end

local now = time()

-- Not twice in a row: calls that fail now and then shall not keep everybody from a dead one's run.
local function spare(s, queue)
  local fence, at = string.match(redis.call('HGET', s.meta, 'spared') or '', '^(%d+) (%d+)')
  if tonumber(fence) == s.fence and now - tonumber(at) < SPARED_AGAIN_S then
    return false
  end
  redis.call('HSET', s.meta, 'spared', string.format('%.0f %.0f', s.fence, now))
  redis.call('ZADD', queue, decimal(now + spare_s), s.session)
  return true
end

for _ = 1, LONGEST_SEARCH do
  local times, session, at, queue = firsts()
  if not session or at > now then
    return {'none', times}
  end
  local s = open(base, session)
  if not s or s.deleted or s.runs ~= queue then
    redis.call('ZREM', queue, session)
  elseif not (s.worker and spare_s > 0 and spare(s, queue)) then
    local fence, lease_until = raised(s), decimal(now + lease_s)
    redis.call('HSET', s.meta, 'fence', fence, 'worker', worker)
    redis.call('HDEL', s.meta, 'jump')
    redis.call('ZADD', queue, lease_until, session)
    return {'ok', session, s.epoch, fence, lease_until, s.worker and 1 or 0, (firsts())}
  end
end
return {'none', (firsts())}
