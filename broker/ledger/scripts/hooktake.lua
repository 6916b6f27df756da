-- hooktake.lua: somebody sends what is due in a webhook's line.
-- KEYS: 1 state, 2 line, 3 deliveries, 4 order, 5 the shard's due
-- ARGV: 1 now (ms), 2 how many, 3 token of who sends, 4 until when (ms)
-- Returns: {"ok", delivery (JSON), …}, or {"busy", until (ms)}
-- Compares: the token with who sends already. What is taken comes again after a while, until it is settled.
local call = redis.call
local b = call('HMGET', KEYS[1], 'busy', 'token')
if b[1] and b[2] ~= ARGV[3] and tonumber(b[1]) > tonumber(ARGV[1]) then return { 'busy', b[1] } end
call('HSET', KEYS[1], 'busy', ARGV[4], 'token', ARGV[3])
local out = { 'ok' }
for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  local d = call('HGET', KEYS[3], id)
  if d then
    call('ZADD', KEYS[2], ARGV[4], id)
    out[#out + 1] = d
  else
    call('ZREM', KEYS[2], id)
  end
end
return out
