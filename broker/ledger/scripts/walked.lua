-- walked.lua: a walk has reached its end.
-- KEYS: 1 era, 2 the application's hash
-- ARGV: 3 namespace, 4 name, 5 generation, or "gone" when the application was removed
-- Returns: {"ok"}, or {"again"}: devices joined meanwhile (removal only)
-- Compares: the generation: a newer target needs its own walk
local app = ARGV[3] .. '/' .. ARGV[4]
local a = P .. 'a:' .. app
if ARGV[5] ~= 'gone' then
  if call('HGET', a, 'gen') == ARGV[5] then call('HDEL', a, 'dirty') end
  return { 'ok' }
end
if not call('HGET', a, 'gone') then return { 'ok' } end
if call('EXISTS', P .. 'm:' .. app) == 1 then return { 'again' } end
for _, k in ipairs({ 'r:', 'rc:', 'c:', 'm:', 'rel:' }) do call('DEL', P .. k .. app) end
call('ZREM', P .. 'due', 'advance|' .. ARGV[3] .. '|' .. ARGV[4] .. '|')
if call('EXISTS', P .. 'n:' .. ARGV[3], P .. 'as:' .. ARGV[3]) == 0 then call('HDEL', P .. 'ns', ARGV[3]) end
-- Remembered for a while, so that put.lua of a caller with an old list does not bring it back.
call('PEXPIRE', a, '@REMOVED@')
return { 'ok' }
