-- ARGV: state, id…. Gives how many are forgotten.
local gone = {}
for i = 2, #ARGV do
  if locate(ARGV[i]) == ARGV[1] then
    insert(gone, ARGV[i])
    -- From the end at which lists are begun: who forgets comes with the youngest first.
    if ARGV[1] == 'completed' then call('LREM', P .. ':doneq', -1, ARGV[i]) end
  end
end
forget(gone)
return #gone
