#!lua flags=allow-oom
-- needs session.lua
-- KEYS: meta, log, snap, timers; ARGV: base, session. Principal, access, … of all others.
local s = peek(ARGV[1], ARGV[2])
if not s or s.deleted then
  return {'missing'}
end
local found = {}
for name, access in pairs(s) do
  if string.sub(name, 1, 6) == 'share:' then
    found[#found + 1] = string.sub(name, 7)
    found[#found + 1] = access
  end
end
return {'ok', s.session, found}
