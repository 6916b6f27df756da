-- copy.lua: a shard's copy of the era.
-- KEYS: 1 the shard's era
-- ARGV: 1 the copy that was read, 2 the era
-- Returns: {1 when the shard has the era}
-- Compares: the copy, so that a slow process does not bring an old era back
local e = redis.call('GET', KEYS[1]) or ''
if e == ARGV[2] then return { 1 } end
if e ~= ARGV[1] then return { 0 } end
redis.call('SET', KEYS[1], ARGV[2])
return { 1 }
