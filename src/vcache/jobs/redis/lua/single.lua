-- ARGV: as of groups, of one job. Alone, since to define what scripts share takes longer than this does.
local P, call = KEYS[1], redis.call
local kind, priority, id, spec = ARGV[2], ARGV[3], ARGV[5], ARGV[6]
if call('HSETNX', P .. ':jobs', id, spec) == 1 then
  call('RPUSH', P .. ':q:' .. priority .. ':' .. kind, id)
  call('SADD', P .. ':kinds', kind)
  call('HINCRBY', P .. ':totals', 'submitted:' .. kind, 1)
  local bell = P .. ':wake:' .. kind
  if call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
end
