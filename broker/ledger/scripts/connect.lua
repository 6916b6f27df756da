-- connect.lua: a session is on the record.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 name, 5 era, 6 epoch, 7 session (JSON)
-- Returns: {status, changes}: "ok"; "stale": another era, nothing done; "old": a newer session is on the
--   record, nothing done, changes are those of the first time
-- Compares: era; epoch with the row's; a session that was closed already (dc) is recorded, not online
local D, era, e = open(ARGV[3], ARGV[4]), ARGV[5], ARGV[6]
if ERA == '' or era ~= ERA then return { 'stale', '' } end
local what = 'c:' .. e
if below(e, D.e) then return { 'old', replay(D, what) } end
raise(e)
local row, on = P .. 'd:' .. D.id, below(D.dc, e)
local again = D.e == e and D.on == on
call('HSET', row, 'e', e, 'on', on and '1' or '0', 'ls', NOW)
call('SET', P .. 's:' .. D.id, ARGV[7])
show(D)
due('status', D.ns, D.name, '', NOW + @STATUS@)
if again then return { 'ok', replay(D, what) } end
if on then feed(D, 'connected') end
if D.on ~= on then
  D.on = on
  settle_all(D)
end
return { 'ok', answer(D, what) }
