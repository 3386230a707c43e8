-- Lead no more, if ARGV[1] is the leader KEYS[1].
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
