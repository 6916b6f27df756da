-- trap.lua: one wasm fault on a device, counted once.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 name, 5 boot, 6 seq, 7 application, 8 reason, 9 message
-- Returns: {1 when it was not known, else 0}
-- Compares: (boot, seq) with the last ones seen
local D, name = open(ARGV[3], ARGV[4]), ARGV[7]
local k = P .. 't:' .. D.id
if call('ZADD', k, 'NX', NOW, ARGV[5] .. ':' .. ARGV[6]) == 0 then return { 0 } end
call('ZREMRANGEBYRANK', k, 0, -(@TRAPS@ + 1))
call('PEXPIRE', k, '@TRAPTTL@')
if call('HEXISTS', P .. 'x:' .. D.id, name) == 1 then
  local r = record(D, name)
  r.tc = (r.tc or 0) + 1
  save(D, name, r)
end
feed(D, 'trap', name, '', '', '', ARGV[8], ARGV[9])
due('status', D.ns, D.name, '', NOW + @STATUS@)
return { 1 }
