-- refuse.lua: a device shall not get the target; it fails without having been told.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 device, 5 application, 6 sequence, 7 reason, 8 message
-- Returns: {"ok"} or {"stale"}: another sequence, or the device is not waiting any more; nothing done
-- Compares: sequence with the target's; the work set, which must be pending or away
local D, name = open(ARGV[3], ARGV[4]), ARGV[5]
local t, r = target(ARGV[3] .. '/' .. name), record(D, name)
if not t or t.seq ~= ARGV[6] or not r.m then return { 'stale' } end
if r.q == ARGV[6] then return { 'ok' } end
local set = classify(D, r, t)
if set ~= 'pending' and set ~= 'away' then return { 'stale' } end
r.q, r.qr, r.qm = ARGV[6], ARGV[7], ARGV[8] ~= '' and ARGV[8] or nil
settle(D, name, r)
save(D, name, r)
due('status', D.ns, D.name, '', NOW + @STATUS@)
answer(D)
return { 'ok' }
