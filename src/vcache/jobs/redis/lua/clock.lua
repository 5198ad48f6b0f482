-- ARGV: epoch, microseconds. Moves the queue's clock, unless somebody did before; gives now, epoch.
local key = P .. ':n'
if (call('HGET', key, 'epoch') or '0') == ARGV[1] then
  call('HINCRBY', key, 'offset', ARGV[2])
  call('HINCRBY', key, 'epoch', 1)
end
return {string.format('%.0f', now_us()), call('HGET', key, 'epoch') or '0'}
