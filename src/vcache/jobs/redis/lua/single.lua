-- ARGV: kind, priority, id, spec of one job that is no more than a line in a lane. It stands alone, since
-- to define what scripts share takes longer than this does.
local P, call = KEYS[1], redis.call
local kind, priority, id, spec = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if call('HSETNX', P .. ':jobs', id, spec) == 1 then
  call('RPUSH', P .. ':q:' .. priority .. ':' .. kind, id)
  if call('HINCRBY', P .. ':totals', 'submitted:' .. priority .. ':' .. kind, 1) == 1 then
    call('SADD', P .. ':kinds', kind)
  end
  local bell = P .. ':wake:' .. kind
  if call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
end
