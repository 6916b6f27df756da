-- take.lua: what a device's session shall tell it now, noted as told to this boot of the device.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 device, 5 boot id, 6 session epoch
-- Returns: for each open command whose deadline has not passed: its JSON, and what to do: "tell"; "lost" (it was told to
--   an earlier boot, or is a message that was told already)
-- Compares: the boot to which the command was told with the boot id
local id, boot, out = ARGV[3] .. '/' .. ARGV[4], ARGV[5], {}
local told = P .. 'ct:' .. id
local flat = call('HGETALL', P .. 'cm:' .. id)
for i = 1, #flat, 2 do
  local cmd, c = flat[i], dec(flat[i + 1])
  if c.deadline > NOW then
    local to = call('HGET', told, cmd)
    if not to or (to == boot and c.kind ~= 'Message') then
      call('HSET', told, cmd, boot)
      out[#out + 1] = flat[i + 1]
      out[#out + 1] = 'tell'
    else
      out[#out + 1] = flat[i + 1]
      out[#out + 1] = 'lost'
    end
  end
end
return out
