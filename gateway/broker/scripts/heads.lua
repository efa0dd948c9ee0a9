#!lua flags=allow-oom
-- needs session.lua
-- KEYS: the metas of one shard; ARGV: base, sessions…
local found = {}
for i = 2, #ARGV do
  local s = open(ARGV[1], ARGV[i])
  found[i - 1] = s and {s.session, s.epoch, s.seq, s.version, s.fence} or false
end
return found
