"""What is done inside Redis, in Lua: each script happens as a whole, seen by others and written to its log.

Keys, below a prefix:
    events     hash: event id -> the rest of the event (`encoding.rest_text`)
    users      sorted set of the users who have events, by their tokens
    t:TOKEN    sorted set, all scores 0, so ordered by its members: 8 bytes of time, 8 bytes of arrival, then
               `encoding.timeline_parts`, numbers and texts. A score would keep only 53 bits of a time.
    arrival, sequence    the last numbers given
    items, eligibility   hash: token -> record or "" for a deleted one; "1" or "0"
    items:order, eligibility:order    sorted set: token by the sequence of its latest change
"""

# KEYS: events, users, arrival, then the timeline of each event. ARGV, for each: id, time (8 bytes), text, rest, user token.
ADD_EVENTS = """
local new = {}
for i = 1, #KEYS - 3 do
    local at = 5 * (i - 1)
    new[i] = redis.call('HSETNX', KEYS[1], ARGV[at + 1], ARGV[at + 4])
    if new[i] == 1 then
        local arrival = struct.pack('>I8', redis.call('INCR', KEYS[3]))
        redis.call('ZADD', KEYS[i + 3], 0, ARGV[at + 2] .. arrival .. ARGV[at + 3])
        redis.call('ZADD', KEYS[2], 0, ARGV[at + 5])
    end
end
return new
"""

# KEYS: a timeline. ARGV: the end, as ZRANGEBYLEX takes it; where the numbers of a member end and its texts begin.
# Two pieces are quicker to send and to read than two per event.
TIMELINE = """
local found = redis.call('ZRANGEBYLEX', KEYS[1], '-', ARGV[1])
local texts = {}
for i = 1, #found do
    texts[i] = string.sub(found[i], ARGV[2] + 1)
    found[i] = string.sub(found[i], 17, ARGV[2])
end
return {table.concat(found), table.concat(texts)}
"""

# KEYS: sequence, the hash, its order. ARGV: token and value of each change. Returns the last sequence of this hash.
CHANGE = """
for i = 1, #ARGV, 2 do
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    redis.call('ZADD', KEYS[3], redis.call('INCR', KEYS[1]), ARGV[i])
end
local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
return tonumber(last[2] or 0)
"""

# KEYS: the hash, its order. ARGV: the sequence after which, how many at most. Returns token, sequence, value of each.
CHANGES = """
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local changes = {}
for i = 1, #found, 2 do
    changes[#changes + 1] = found[i]
    changes[#changes + 1] = found[i + 1]
    changes[#changes + 1] = redis.call('HGET', KEYS[1], found[i])
end
return changes
"""
