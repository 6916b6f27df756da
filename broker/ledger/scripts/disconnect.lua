-- disconnect.lua: a session is over.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 name, 5 era, 6 epoch, 7 reason
-- Returns: {status, changes}: "ok"; "stale": another era; "old": a newer session is on the record, nothing done
-- Compares: era; epoch with the row's
local D, era, e = open(ARGV[3], ARGV[4]), ARGV[5], ARGV[6]
if ERA == '' or era ~= ERA then return { 'stale', '' } end
local what = 'd:' .. e
if below(e, D.e) then return { 'old', '' } end
raise(e)
call('HSET', P .. 'd:' .. D.id, 'e', e, 'dc', e, 'on', '0', 'ls', NOW)
show(D)
due('status', D.ns, D.name, '', NOW + @STATUS@)
if D.dc == e then return { 'ok', replay(D, what) } end
if D.on then
  D.on = false
  feed(D, 'disconnected', '', '', '', '', ARGV[7])
  settle_all(D)
end
return { 'ok', answer(D, what) }
