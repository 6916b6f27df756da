-- target.lua: what an application wants, in one shard. Members are brought in line by walk.lua afterwards.
-- KEYS: 1 era, 2 the application's hash
-- ARGV: 3 namespace, 4 name, 5 sequence, 6 revision, 7 content of the revision (JSON: digest, size, manifest),
--   8 state, 9 stop (1: paused or halted), 10 paused, 11 halted (0, 1), 12 deadline (ms), 13 UID, 14 selection
--   (JSON; of names only those of this shard)
-- Returns: {status, generation}: "ok": nothing to walk; "walk": walk, then walked.lua with the generation;
--   "stale": the ledger has a higher sequence, nothing done; "reset": another application of that name is (being)
--   removed: finish that, then again
-- Compares: sequence, UID
local app, seq = ARGV[3] .. '/' .. ARGV[4], ARGV[5]
local a = P .. 'a:' .. app
local h = call('HMGET', a, 'seq', 'rev', 'st', 'sel', 'uid', 'gone', 'dirty')
if h[6] then
  if call('EXISTS', P .. 'm:' .. app) == 1 then return { 'reset', '' } end
  call('DEL', a)
  h = {}
elseif h[1] then
  if ARGV[13] ~= '' and h[5] ~= '' and h[5] ~= ARGV[13] then return { 'reset', '' } end
  if below(seq, h[1]) then return { 'stale', '' } end
end
call('HSET', a, 'seq', seq, 'rev', ARGV[6], 'st', ARGV[8], 'stop', ARGV[9], 'paused', ARGV[10], 'halted', ARGV[11],
  'dl', ARGV[12], 'uid', ARGV[13], 'sel', ARGV[14])
call('HSET', P .. 'r:' .. app, ARGV[6], ARGV[7])
if h[2] and h[2] ~= ARGV[6] and not call('HGET', P .. 'rc:' .. app, h[2]) then call('HDEL', P .. 'r:' .. app, h[2]) end
call('SADD', P .. 'as:' .. ARGV[3], ARGV[4])
call('HINCRBY', P .. 'ns', ARGV[3], 0)
if h[1] == seq and h[2] == ARGV[6] and h[3] == ARGV[8] and h[4] == ARGV[14] and not h[7] then return { 'ok', '' } end
call('HSET', a, 'dirty', 1)
return { 'walk', call('HINCRBY', a, 'gen', 1) }
