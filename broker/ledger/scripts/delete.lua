-- delete.lua: a Device object is gone, and all that is known of the device with it.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 name
-- Returns: {"ok"}
-- Compares: nothing; idempotent
local D = open(ARGV[3], ARGV[4])
if call('EXISTS', P .. 'd:' .. D.id) == 0 then return { 'ok' } end
local rs, names = records(D)
for _, name in ipairs(names) do leave(D, name, rs[name]) end
for k, v in pairs(labels(D)) do
  call('ZREM', P .. 'l:' .. D.ns .. ':' .. k .. '=' .. v, D.name)
  call('ZREM', P .. 'lk:' .. D.ns .. ':' .. k, D.name)
end
feed(D, 'deleted')
call('ZREM', P .. 'n:' .. D.ns, D.name)
if D.known then call('HINCRBY', P .. 'ns', D.ns, -1) end
if call('EXISTS', P .. 'n:' .. D.ns, P .. 'as:' .. D.ns) == 0 then call('HDEL', P .. 'ns', D.ns) end
D.bump, D.wake = false, true
answer(D)
for _, k in ipairs({ 'd:', 'f:', 's:', 'x:', 're:', 't:', 'tm:', 'tmi:', 'lg:', 'lgi:', 'cm:', 'ct:', 'cz:', 'czl:' }) do call('DEL', P .. k .. D.id) end
return { 'ok' }
