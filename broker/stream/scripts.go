package stream

import "github.com/redis/go-redis/v9"

// dueScript makes parked retries ready whose time has come.
//
//	KEYS  retry, parked, queue, consumers
//	ARGV  now (Unix ms), at most so many, the queue's process
//	->    {how many became ready, when the next is due (Unix ms, "" when none)}
var dueScript = redis.NewScript(`
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
local n = 0
for _, id in ipairs(ids) do
  local v = redis.call('HGET', KEYS[2], id)
  if v then
    local nl = string.find(v, '\n', 1, true)
    local a, t = string.match(string.sub(v, 1, nl - 1), '^(%d+) (%d+)$')
    redis.call('XADD', KEYS[3], '*', 'e', string.sub(v, nl + 1), 'a', a, 't', t)
    redis.call('HDEL', KEYS[2], id)
    n = n + 1
  end
  redis.call('ZREM', KEYS[1], id)
end
if n > 0 then redis.call('SADD', KEYS[4], ARGV[3]) end
local nxt = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {n, nxt[2] or ''}
`)

// redeliverScript puts dead letters back into their Trigger's queue, as if just accepted.
//
//	KEYS  dead, inbox
//	ARGV  ids of dead letters
//	->    how many there were
var redeliverScript = redis.NewScript(`
local n = 0
for _, id in ipairs(ARGV) do
  local found = redis.call('XRANGE', KEYS[1], id, id)
  if found[1] then
    local f = found[1][2]
    for i = 1, #f, 2 do
      if f[i] == 'e' then redis.call('XADD', KEYS[2], '*', 'e', f[i + 1]) end
    end
    redis.call('XDEL', KEYS[1], id)
    n = n + 1
  end
end
return n
`)

// moveScript moves entries from one queue to another, in order; an emptied queue is deleted.
//
//	KEYS  from, to, consumers
//	ARGV  at most so many, the process of the queue that is moved to ("": nobody's)
//	->    how many
var moveScript = redis.NewScript(`
local found = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])
for _, entry in ipairs(found) do
  redis.call('XADD', KEYS[2], '*', unpack(entry[2]))
  redis.call('XDEL', KEYS[1], entry[1])
end
if #found > 0 and ARGV[2] ~= '' then redis.call('SADD', KEYS[3], ARGV[2]) end
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
return #found
`)
