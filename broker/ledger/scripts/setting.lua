-- setting.lua: one field of the settings that gateways read; wakes them when it changed.
-- KEYS: 1 hash
-- ARGV: 1 field, 2 value, or "" to remove, 3 channel of all gateways
-- Returns: {1 when it changed}
-- Compares: the value
local was = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if was == ARGV[2] then return { 0 } end
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('PUBLISH', ARGV[3], 'settings')
return { 1 }
