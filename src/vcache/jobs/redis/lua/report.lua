-- ARGV: session, id, token, progress. Gives whether the token counts.
local job = held_by(ARGV[1], ARGV[2])
if not job or job.token ~= ARGV[3] then return 0 end
call('HSET', P .. ':progress', ARGV[2], ARGV[4])
return 1
