-- dispatch.lua: desired := target, for some devices of a shard.
-- KEYS: 1 era, 2 the application's hash
-- ARGV: 3 namespace, 4 name, 5 sequence, 6 deadline (ms), 7… names of devices
-- Returns: {how many}
-- Compares: sequence with the target's, paused, halted; each device's work set, which must be pending
local ns, name, n = ARGV[3], ARGV[4], 0
local t = target(ns .. '/' .. name)
if not t or t.seq ~= ARGV[5] or t.stop then return { 0 } end
for i = 7, #ARGV do
  local D = open(ns, ARGV[i])
  local r = record(D, name)
  -- What the row says now counts, not what the set said when the candidates were read.
  if r.m and D.on and not D.held and classify(D, r, t) == 'pending' then
    want(D, name, r, t)
    r.u = tonumber(ARGV[6])
    settle(D, name, r)
    save(D, name, r)
    answer(D)
    n = n + 1
  end
end
return { n }
