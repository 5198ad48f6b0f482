-- ARGV: time, epoch, most; keep. Does what time brings; gives how much.
local now = now_us()
if not is_expected(now, call('HGET', P .. ':n', 'epoch') or '0') then return 0 end
local keep = tonumber(ARGV[4])
local count = move_due(now) + expire(now)
for _, unique in ipairs(call('ZRANGE', P .. ':unique_ends', '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, 1000)) do
  local ends = string.match(call('HGET', P .. ':unique', unique) or '', ' (%d+)$')
  if ends and tonumber(ends) > 0 and tonumber(ends) <= now then call('HDEL', P .. ':unique', unique) end
  call('ZREM', P .. ':unique_ends', unique)
  count = count + 1
end
local surplus = math.min(call('ZCARD', P .. ':cancelled') - keep, STEP)
if surplus > 0 then
  local old = call('ZRANGE', P .. ':cancelled', 0, surplus - 1)
  for i, member in ipairs(old) do old[i] = sub(member, 17) end
  forget(old)
  count = count + surplus
end
surplus = math.min(call('LLEN', P .. ':doneq') - keep, STEP)
if surplus > 0 then
  forget(call('LPOP', P .. ':doneq', surplus))
  count = count + surplus
end
return count
