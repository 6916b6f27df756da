-- append.lua: frames of telemetry or of logs, of devices of one shard.
-- KEYS: 1 era
-- ARGV: 3 "tm" or "lg", then for each frame: device (namespace/name), boot (hex), seq of the first record,
--   number of records, records (CBOR)
-- Returns: {how many frames were stored}
-- Compares: the records' numbers with those seen of the boot, kept as intervals; a frame that is wholly among
--   them is a duplicate
local P, NOW, call, number = ARGV[1], ARGV[2], redis.call, tonumber
local kind, stored = ARGV[3], 0

-- cover adds [a, b) to "a-b,a-b,…"; nil when it was there.
local function cover(s, a, b)
  local out, put = {}, false
  for x, y in string.gmatch(s or '', '(%d+)-(%d+)') do
    x, y = number(x), number(y)
    if x <= a and b <= y then return nil end
    if y < a or put and x > b then
      out[#out + 1] = { x, y }
    elseif x > b then
      out[#out + 1] = { a, b }
      put = true
      out[#out + 1] = { x, y }
    else
      a, b = math.min(a, x), math.max(b, y)
    end
  end
  if not put then out[#out + 1] = { a, b } end
  -- Too many gaps: the oldest counts as seen.
  while #out > @INTERVALS@ do
    out[2][1] = out[1][1]
    table.remove(out, 1)
  end
  for i, p in ipairs(out) do out[i] = string.format('%.0f-%.0f', p[1], p[2]) end
  return table.concat(out, ',')
end

for i = 4, #ARGV, 5 do
  local id, boot = ARGV[i], ARGV[i + 1]
  local seq = number(ARGV[i + 2])
  local k, ik = P .. kind .. ':' .. id, P .. kind .. 'i:' .. id
  local h = call('HMGET', ik, boot, 'o')
  local s = cover(h[1], seq, seq + number(ARGV[i + 3]))
  if s then
    if h[1] then
      call('HSET', ik, boot, s)
    else
      local boots = {}
      for b in string.gmatch(h[2] or '', '[^,]+') do boots[#boots + 1] = b end
      boots[#boots + 1] = boot
      while #boots > @BOOTS@ do call('HDEL', ik, table.remove(boots, 1)) end
      call('HSET', ik, boot, s, 'o', table.concat(boots, ','))
    end
    call('XADD', k, 'MAXLEN', '~', '@LENGTH@', '*', 't', NOW, 'b', boot, 's', ARGV[i + 2], 'r', ARGV[i + 4])
    call('PEXPIRE', k, '@RECORDSTTL@')
    call('PEXPIRE', ik, '@RECORDSTTL@')
    stored = stored + 1
  end
end
return { stored }
