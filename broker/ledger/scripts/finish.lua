-- finish.lua: a command has its answer, or never will.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 device, 5 id, 6 result (JSON), 7 status, 8 reason, 9 message, 10 "late": only when its deadline has passed
-- Returns: {"finished", command (JSON)}, {"before", result (JSON)} when it had been answered, {"early"}, {"unknown"}
-- Compares: the first answer counts; for "late" the deadline with the clock
local D, id = open(ARGV[3], ARGV[4]), ARGV[5]
local j = call('HGET', P .. 'cm:' .. D.id, id)
if not j then
  local done = call('HGET', P .. 'cz:' .. D.id, id)
  if done then return { 'before', done } end
  return { 'unknown' }
end
local c, timer = dec(j), 'command|' .. D.ns .. '|' .. id .. '|' .. D.name
if ARGV[10] == 'late' and c.deadline > NOW then
  call('ZADD', P .. 'due', c.deadline, timer)
  return { 'early' }
end
call('HDEL', P .. 'cm:' .. D.id, id)
call('HDEL', P .. 'ct:' .. D.id, id)
call('ZREM', P .. 'due', timer)
call('HSET', P .. 'cz:' .. D.id, id, ARGV[6])
call('RPUSH', P .. 'czl:' .. D.id, id)
while call('LLEN', P .. 'czl:' .. D.id) > @RESULTS@ do
  call('HDEL', P .. 'cz:' .. D.id, call('LPOP', P .. 'czl:' .. D.id))
end
call('PEXPIRE', P .. 'cz:' .. D.id, '@RESULTTTL@')
call('PEXPIRE', P .. 'czl:' .. D.id, '@RESULTTTL@')
feed(D, 'command', c.app, 'asked', ARGV[7], '', ARGV[8], ARGV[9])
return { 'finished', j }
