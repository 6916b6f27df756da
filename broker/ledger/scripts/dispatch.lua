-- dispatch.lua: desired := target, for some devices of a shard.
-- KEYS: 1 era, 2 the application's hash
-- ARGV: 3 namespace, 4 name, 5 sequence, 6 deadline (ms), 7… names of devices, "+" before one that the trace follows
-- Returns: {how many}
-- Compares: sequence with the target's, paused, halted; each device's work set, which must be pending
local ns, name, n = ARGV[3], ARGV[4], 0
local t = target(ns .. '/' .. name)
if not t or t.seq ~= ARGV[5] or t.stop then return { 0 } end
for i = 7, #ARGV do
  local device, follow = ARGV[i], TRACE and string.byte(ARGV[i]) == 43
  if follow then device = string.sub(device, 2) end
  local D = open(ns, device)
  local r = record(D, name)
  -- What the row says now counts, not what the set said when the candidates were read.
  if r.m and D.on and not D.held and classify(D, r, t) == 'pending' then
    want(D, name, r, t)
    r.u, r.tp = tonumber(ARGV[6]), follow and TRACE or nil
    settle(D, name, r)
    save(D, name, r)
    answer(D)
    n = n + 1
  end
end
return { n }
