-- walk.lua: brings some of a shard's devices in line with an application's target and selection.
-- KEYS: 1 era, 2 the application's hash
-- ARGV: 3 namespace, 4 name, 5 index to walk without the prefix ("m:…", "n:…", "l:…", "lk:…"), or "" when the
--   devices follow, 6 cursor ("-" at first), 7 how many, 8… names of devices
-- Returns: {next cursor, or "" at the end}
-- Compares: nothing; idempotent, can be started again anywhere
quiet = true
local ns, name = ARGV[3], ARGV[4]
local app = ns .. '/' .. name
local sel = call('HGET', P .. 'a:' .. app, 'sel')
sel = target(app) and sel and dec(sel) or {}
local names, cursor = {}, ''
if ARGV[5] == '' then
  for i = 8, #ARGV do names[#names + 1] = ARGV[i] end
else
  names = call('ZRANGEBYLEX', P .. ARGV[5], ARGV[6], '+', 'LIMIT', 0, ARGV[7])
  if #names == tonumber(ARGV[7]) then cursor = '(' .. names[#names] end
end
for _, n in ipairs(names) do
  local D = open(ns, n)
  local r = record(D, name)
  local in_it = D.known and selected(sel, n, sel.terms and labels(D) or {})
  if in_it or r.m then
    if in_it then join(D, name, r) else leave(D, name, r) end
    settle(D, name, r)
    save(D, name, r)
    if #D.changes > 0 then due('status', ns, n, '', NOW + @STATUS@) end
    answer(D)
  end
end
return { cursor }
