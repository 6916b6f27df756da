-- verdict.lua: enroll's answer to a session; wakes the gateway that waits.
-- KEYS: 1 the session's verdict
-- ARGV: 1 verdict (JSON), 2 how long (ms), 3 channel of the gateway process, 4 session
-- Returns: {"ok"}
-- Compares: nothing; latest wins
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], 'verdict ' .. ARGV[4])
return { 'ok' }
