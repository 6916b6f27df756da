-- remove.lua: an application wants nothing any more, in one shard. Its members leave by walk.lua afterwards.
-- KEYS: 1 era, 2 the application's hash
-- ARGV: 3 namespace, 4 name
-- Returns: {"ok"}
-- Compares: nothing; idempotent
local app = ARGV[3] .. '/' .. ARGV[4]
local a = P .. 'a:' .. app
call('DEL', a)
call('HSET', a, 'gone', 1)
call('SREM', P .. 'as:' .. ARGV[3], ARGV[4])
return { 'ok' }
