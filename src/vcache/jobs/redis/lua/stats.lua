-- Gives lists: (kind, priority, waiting)…, numbers, totals, sessions, workers, leases, held per session.
local kinds = call('SMEMBERS', P .. ':kinds')
local waiting, oldest = {}, ''
for _, kind in ipairs(kinds) do
  local suspects = call('LLEN', P .. ':s:' .. kind)
  for priority = 0, 3 do
    local key = lane(priority, kind)
    local count = call('LLEN', key)
    if count > 0 then
      local head = call('LINDEX', key, 0)
      if oldest == '' or head < oldest then oldest = head end
      count = count - tonumber(call('HGET', P .. ':buried_in', priority .. ':' .. kind) or 0)
    end
    if priority == 2 then count = count + suspects end
    if count > 0 then
      insert(waiting, kind)
      insert(waiting, priority)
      insert(waiting, count)
    end
  end
end
local sessions, held = call('HGETALL', P .. ':sessions'), {}
for i = 1, #sessions, 2 do
  local count = 0
  for _, value in ipairs(call('HVALS', P .. ':held:' .. sessions[i])) do count = count + (#value - 16) / 36 end
  insert(held, count)
end
local spec = oldest ~= '' and call('HGET', P .. ':jobs', oldest) or ''
return {waiting,
  {call('ZCARD', P .. ':due'), tonumber(call('HGET', P .. ':n', 'retry') or 0), call('HLEN', P .. ':blocked'),
   call('LLEN', P .. ':doneq'), call('ZCARD', P .. ':dead'), call('ZCARD', P .. ':cancelled')},
  call('HGETALL', P .. ':totals'), sessions, call('HGETALL', P .. ':workers'), call('HGETALL', P .. ':leases'), held, spec}
