-- decline.lua: a device would not take the command that carries the target to it. It fails with the device's reason.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 device, 5 application, 6 attempt, 7 revision, 8 reason, 9 message
-- Returns: {changes}
-- Compares: attempt with the target's sequence, revision with desired; in flight
local D, name = open(ARGV[3], ARGV[4]), ARGV[5]
local t, r = target(ARGV[3] .. '/' .. name), record(D, name)
local what = 'n:' .. name .. ':' .. ARGV[6]
if not t or t.seq ~= ARGV[6] or r.s ~= 'inflight' or r.d ~= ARGV[7] then return { replay(D, what) } end
r.q, r.qr, r.qm = ARGV[6], ARGV[8], ARGV[9] ~= '' and ARGV[9] or nil
settle(D, name, r)
save(D, name, r)
due('status', D.ns, D.name, '', NOW + @STATUS@)
return { answer(D, what) }
