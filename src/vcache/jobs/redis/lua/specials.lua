-- Goes on from groups.lua. ARGV: specials, of each:
--   id, spec, kind, priority, due, deadline, unique, lasts, count, after…
-- Gives the ids of specials that stand for others: index, id, …
local now = now_us()
local stands = {}
for number = 1, tonumber(next_argument()) do
  local id, spec, kind, priority = next_argument(), next_argument(), next_argument(), next_argument()
  local due, deadline, unique, lasts = tonumber(next_argument()), next_argument(), next_argument(), next_argument()
  local n_after = tonumber(next_argument())
  local wanted = {}
  for i = 1, n_after do wanted[i] = next_argument() end
  local other
  if unique ~= '' then
    local taken, ends = string.match(call('HGET', P .. ':unique', unique) or '', '^(%S+) (%d+)$')
    if taken and (tonumber(ends) == 0 or tonumber(ends) > now) then other = taken end
  end
  if call('HEXISTS', P .. ':jobs', id) == 1 then
    other = nil
  elseif other then
    insert(stands, number)
    insert(stands, other)
  else
    call('HSET', P .. ':jobs', id, spec)
    call('SADD', P .. ':kinds', kind)
    total(kind, 'submitted:' .. priority, 1)
    if deadline ~= '0' then
      call('HSET', P .. ':deadline_of', id, deadline)
      back_to_deadline(id)
    end
    if unique ~= '' then
      local ends = tonumber(lasts) > 0 and now + tonumber(lasts) or 0
      call('HSET', P .. ':unique', unique, id .. ' ' .. string.format('%.0f', ends))
      if ends == 0 then call('HSET', P .. ':unique_of', id, unique)
      else call('ZADD', P .. ':unique_ends', string.format('%.0f', ends), unique) end
    end
    local blocks, lost = {}, nil
    for _, wish in ipairs(wanted) do
      local state = locate(wish)
      if state == 'dead' or state == 'cancelled' then lost = lost or {wish, state}
      elseif state and state ~= 'completed' and not blocks[wish] then
        blocks[wish] = true
        insert(blocks, wish)
      end
    end
    if lost then
      end_job(id, 'cancelled', now, because_of(lost[1], lost[2]), kind)
    elseif #blocks > 0 then
      for _, wish in ipairs(blocks) do
        local followers = call('HGET', P .. ':afters', wish)
        call('HSET', P .. ':afters', wish, followers and followers .. ' ' .. id or id)
      end
      call('HSET', P .. ':blocked', id, #blocks .. ':' .. priority .. ':' .. string.format('%.0f', due) .. ':' .. kind)
    elseif due > now then
      call('ZADD', P .. ':due', string.format('%.0f', due), id)
      call('HSET', P .. ':late', id, 'd' .. priority .. kind)
      wake(kind)
    else
      make_ready(id, priority, kind, false)
    end
  end
end
return stands
