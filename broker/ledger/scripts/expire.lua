-- expire.lua: a device's deadline has come.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 device, 5 application, 6 sequence, 7 reason, 8 message
-- Returns: {changes}
-- Compares: sequence with the target's; in flight; the record's deadline with the clock
local D, name = open(ARGV[3], ARGV[4]), ARGV[5]
local t, r = target(ARGV[3] .. '/' .. name), record(D, name)
local what = 'x:' .. name .. ':' .. ARGV[6]
if not t or t.seq ~= ARGV[6] or r.s ~= 'inflight' then return { replay(D, what) } end
if r.u and r.u > NOW then
  due('deadline', D.ns, name, D.name, r.u)
  return { '' }
end
if D.on then
  r.q, r.qr, r.qm = ARGV[6], ARGV[7], ARGV[8]
else
  r.xa = ARGV[6]
end
settle(D, name, r)
save(D, name, r)
due('status', D.ns, D.name, '', NOW + @STATUS@)
return { answer(D, what) }
