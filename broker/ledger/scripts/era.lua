-- era.lua: the era of the whole ledger.
-- KEYS: 1 the ledger's era
-- ARGV: 1 a new era, 2 number of shards, 3 the era that is known to be broken, or ""
-- Returns: {era, number of shards, ready (0, 1), 1 when ARGV[1] was taken}
-- Compares: SETNX, or the present era with the broken one
local h = redis.call('HMGET', KEYS[1], 'era', 'shards', 'ready')
if h[1] and h[1] ~= ARGV[3] then return { h[1], h[2], h[3] or '0', 0 } end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'era', ARGV[1], 'shards', ARGV[2])
return { ARGV[1], ARGV[2], '0', 1 }
