-- ARGV: state, kind, place, offset, last, limit. Gives: next place ('' at the end), next offset, next last, id….
-- Lists are read from their younger end, so that what is taken from the other moves nothing.
local state, only, place, offset, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local last = ARGV[5]
local function backwards(key) return function(from, count)
  local found, turned = call('LRANGE', key, -(from + count), -(from + 1)), {}
  for i = #found, 1, -1 do insert(turned, found[i]) end
  return turned
end end
local function of_hash(key) return function(from, count)
  local all, part = call('HKEYS', key), {}
  table.sort(all)
  for i = from + 1, math.min(from + count, #all) do insert(part, all[i]) end
  return part
end end
local function held_in(session) return function(from, count)
  local all, part = {}, {}
  for _, value in ipairs(call('HVALS', P .. ':held:' .. session)) do
    for at = 17, #value, 36 do insert(all, sub(value, at, at + 35)) end
  end
  table.sort(all)
  for i = from + 1, math.min(from + count, #all) do insert(part, all[i]) end
  return part
end end
local function ranked(key) return function(_, count)
  local found, ids = call('ZRANGE', key, last ~= '' and '(' .. last or '+', '-', 'BYLEX', 'REV', 'LIMIT', 0, count), {}
  for i, member in ipairs(found) do
    last = member
    ids[i] = sub(member, 17)
  end
  return ids
end end
local function late(letter) return function(from, count)
  local found, right = call('ZRANGE', P .. ':due', from, from + count - 1), {}
  for _, id in ipairs(found) do
    insert(right, sub(call('HGET', P .. ':late', id) or '', 1, 1) == letter and id or '')
  end
  return right
end end

local places = {}
if state == 'queued' then
  local kinds = call('SMEMBERS', P .. ':kinds')
  table.sort(kinds)
  for _, kind in ipairs(kinds) do
    if only == '' or kind == only then
      for priority = 0, 3 do insert(places, backwards(lane(priority, kind))) end
      insert(places, backwards(P .. ':s:' .. kind))
    end
  end
  insert(places, late('d'))
elseif state == 'retry' then insert(places, late('r'))
elseif state == 'blocked' then insert(places, of_hash(P .. ':blocked'))
elseif state == 'completed' then insert(places, backwards(P .. ':doneq'))
elseif state == 'dead' or state == 'cancelled' then insert(places, ranked(P .. ':' .. state))
elseif state == 'running' then
  local sessions = call('HKEYS', P .. ':sessions')
  table.sort(sessions)
  for _, session in ipairs(sessions) do insert(places, held_in(session)) end
end

local answer = {'', '', ''}
while place < #places do
  local found = places[place + 1](offset, limit)
  for _, id in ipairs(found) do
    if id ~= '' then insert(answer, id) end
  end
  limit = limit - #found
  if limit <= 0 then
    answer[1], answer[2], answer[3] = tostring(place), tostring(offset + #found), last
    break
  end
  place, offset = place + 1, 0
end
return answer
