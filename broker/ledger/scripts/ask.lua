-- ask.lua: a command for a device: an invoke, a message, a restart.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 device, 5 id, 6 command (JSON), 7 deadline (ms), 8 application or ""
-- Returns: {"asked"}, or {"open"} when it is known, {"finished", result (JSON)} when it was answered, {"full"}, {"unknown"}
-- Compares: the id with the commands that are open and with the last results
local D, id = open(ARGV[3], ARGV[4]), ARGV[5]
local done = call('HGET', P .. 'cz:' .. D.id, id)
if done then return { 'finished', done } end
if call('HEXISTS', P .. 'cm:' .. D.id, id) == 1 then return { 'open' } end
if not D.known then return { 'unknown' } end
if call('HLEN', P .. 'cm:' .. D.id) >= @COMMANDS@ then return { 'full' } end
call('HSET', P .. 'cm:' .. D.id, id, ARGV[6])
call('ZADD', P .. 'due', ARGV[7], 'command|' .. D.ns .. '|' .. id .. '|' .. D.name)
feed(D, 'command', ARGV[8], '', 'asked')
local o = call('HMGET', P .. 'o:' .. D.id, 'i', 'e')
if o[1] then call('PUBLISH', 'wb:wake:' .. o[1], 'command ' .. D.ns .. ' ' .. D.name .. ' ' .. (o[2] or '0')) end
return { 'asked' }
