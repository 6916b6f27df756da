-- Ends a redelivery: takes the letter out, or notes why it stays.
-- KEYS: the line's stream, the lines' sizes, the mark of who is at it, the letter's mark.
-- ARGV: line, id, '1' when it was delivered; else status and message of this attempt, time (ms), how often it was delivered.
-- Returns: 1 when there was such a letter.
redis.call('DEL', KEYS[3])
local m = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if not m then
  return 0
end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[1], -#m[2][2])
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[4])
  if redis.call('XLEN', KEYS[1]) == 0 then
    redis.call('HDEL', KEYS[2], ARGV[1])
  end
  return 1
end
-- It stays, with what happened: at the end of its line, because an entry of a stream does not change.
redis.call('XADD', KEYS[1], '*', 'e', m[2][2], 'd', m[2][4], 's', ARGV[4], 'm', ARGV[5], 't', ARGV[6], 'n', ARGV[7], 'k', m[2][14])
redis.call('HINCRBY', KEYS[2], ARGV[1], #m[2][2])
return 1
