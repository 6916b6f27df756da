-- operation.lua: one device's part of an operation, a command to many.
-- KEYS: 1 the operation
-- ARGV: 1 device, 2 "asked" or the status, 3 TTL (ms)
-- Returns: {1} when that was news
-- Compares: asked before finished; each device counts once
local call = redis.call
local was = call('HGET', KEYS[1], 'd:' .. ARGV[1])
if was == ARGV[2] or (was and was ~= 'asked') then return { 0 } end
if not was then call('HINCRBY', KEYS[1], 'n:devices', 1) end
if was then call('HINCRBY', KEYS[1], 'n:' .. was, -1) end
call('HINCRBY', KEYS[1], 'n:' .. ARGV[2], 1)
call('HSET', KEYS[1], 'd:' .. ARGV[1], ARGV[2])
call('PEXPIRE', KEYS[1], ARGV[3])
return { 1 }
