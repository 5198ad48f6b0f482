-- ARGV: session. Gives LOST, or all that it holds: spec, what its entry says, …
if call('HEXISTS', P .. ':sessions', ARGV[1]) == 0 then return {'LOST'} end
local found = {}
local held = call('HGETALL', P .. ':held:' .. ARGV[1])
for i = 1, #held, 2 do
  local value = held[i + 1]
  for at = 17, #value, 36 do
    insert(found, call('HGET', P .. ':jobs', sub(value, at, at + 35)))
    insert(found, sub(held[i], 1, 16) .. sub(value, 1, 16) .. sub(held[i], 17))
  end
end
return found
