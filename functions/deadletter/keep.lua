-- Keeps a letter, unless it is kept already; the oldest go when there are too many.
-- KEYS: the letter's mark, its line's stream, the lines' sizes.
-- ARGV: line, event, destination, status, message, time (ms), how often it was delivered again, the mark's TTL (ms),
--   most letters, most bytes.
-- Returns: its id, or '' when it was there.
if not redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[8]) then
  return ''
end
local id = redis.call('XADD', KEYS[2], '*', 'e', ARGV[2], 'd', ARGV[3], 's', ARGV[4], 'm', ARGV[5], 't', ARGV[6], 'n', ARGV[7], 'k', KEYS[1])
local size = redis.call('HINCRBY', KEYS[3], ARGV[1], #ARGV[2])
local n = redis.call('XLEN', KEYS[2])
while n > 1 and (n > tonumber(ARGV[9]) or size > tonumber(ARGV[10])) do
  local old = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[2], old[1])
  size = redis.call('HINCRBY', KEYS[3], ARGV[1], -#old[2][2])
  n = n - 1
end
return id
