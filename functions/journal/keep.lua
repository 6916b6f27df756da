-- Keeps an event, unless it is kept already.
-- KEYS: its mark, the stream of all, and that of its namespace when it has one.
-- ARGV: the event, '1' when its data was left out, the mark's TTL (ms), the streams' lengths, the namespace's TTL (ms).
-- Returns: its id, or '' when it was there.
if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[3]) then
  return ''
end
local fields = {'e', ARGV[1]}
if ARGV[2] == '1' then
  fields[3], fields[4] = 'x', '1'
end
local id = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', unpack(fields))
if KEYS[3] then
  -- The same id in both, so that a cursor of one is good for the other. It grows, unless the stream of all was lost
  -- alone and the clock went back: then the namespace's begins anew.
  local r = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], id, unpack(fields))
  if type(r) == 'table' and r.err then
    redis.call('DEL', KEYS[3])
    redis.call('XADD', KEYS[3], id, unpack(fields))
  end
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
end
return id
