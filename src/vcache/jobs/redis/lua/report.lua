-- ARGV: session, id, token, progress. Gives whether the token counts.
local value = call('HGET', P .. ':held:' .. ARGV[1], ARGV[2])
if not value or sub(value, 1, 16) ~= ARGV[3] then return 0 end
call('HSET', P .. ':progress', ARGV[2], ARGV[4])
return 1
