-- ARGV: session. Gives LOST, or all that it holds: spec, held, …
if call('HEXISTS', P .. ':sessions', ARGV[1]) == 0 then return {'LOST'} end
local found = {}
local held = call('HGETALL', P .. ':held:' .. ARGV[1])
for i = 1, #held, 2 do
  insert(found, call('HGET', P .. ':jobs', held[i]))
  insert(found, held[i + 1])
end
return found
