-- ready.lua: all shards have the era.
-- KEYS: 1 the ledger's era
-- ARGV: 1 era
-- Returns: {1 when it is still the era}
-- Compares: era
if redis.call('HGET', KEYS[1], 'era') ~= ARGV[1] then return { 0 } end
redis.call('HSET', KEYS[1], 'ready', 1)
return { 1 }
