//! What must happen at once to the sessions of a user. Every script touches one key: a hash of
//! sessions by their handles, laid out as `crate::sessions::record` says.

use std::sync::LazyLock;

use redis::Script;

/// What every script begins with. `at` is the time, by Redis' own clock.
///
/// `extend` keeps the hash at least as long as a session and `grace` after it, so that sweeps find what
/// is over; without any sweep Redis removes it by itself.
const COMMON: &str = r"
local clock = redis.call('TIME')
local at = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function head(value)
  local revision, created, active, expires, ends, ttl = struct.unpack('>I8I8I8I8I8I8', value)
  return {revision = revision, created = created, active = active, expires = expires, ends = ends,
    ttl = ttl}
end
local function pack(h, data)
  return struct.pack('>I8I8I8I8I8I8', h.revision, h.created, h.active, h.expires, h.ends, h.ttl)
    .. data
end
local function touch(h)
  h.active = at
  h.expires = math.min(at + h.ttl, h.ends)
end
local function extend(h, grace)
  local left = h.expires - at + grace
  if redis.call('PTTL', KEYS[1]) < left then
    redis.call('PEXPIRE', KEYS[1], left)
  end
end
";

/// Makes a session. ARGV: handle, milliseconds to live, longest life, most sessions, grace, data.
///
/// Answers the session, how many were over and removed, then the handles of those, then those of
/// sessions that ended for it: the ones longest without use.
const CREATE: &str = r"
local most = tonumber(ARGV[4])
local all = redis.call('HGETALL', KEYS[1])
local live, gone, answer = {}, 0, {'', 0}
for i = 1, #all, 2 do
  local h = head(all[i + 1])
  if h.expires <= at then
    redis.call('HDEL', KEYS[1], all[i])
    gone = gone + 1
    answer[#answer + 1] = all[i]
  else
    live[#live + 1] = {h.active, all[i]}
  end
end
table.sort(live, function(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  return a[2] < b[2]
end)
for i = 1, #live + 1 - most do
  redis.call('HDEL', KEYS[1], live[i][2])
  answer[#answer + 1] = live[i][2]
end
local ttl, life = tonumber(ARGV[2]), tonumber(ARGV[3])
local h = {revision = 1, created = at, active = at, expires = at + math.min(ttl, life),
  ends = at + life, ttl = ttl}
answer[1] = pack(h, ARGV[6])
answer[2] = gone
redis.call('HSET', KEYS[1], ARGV[1], answer[1])
extend(h, tonumber(ARGV[5]))
return answer
";

/// Reads a session. ARGV: handle, `1` to note its use, grace.
///
/// Answers {0, session}, {1} if it is over, and was removed now, or {2} if there is none.
const LOOK: &str = r"
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then
  return {2}
end
local h = head(value)
if h.expires <= at then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return {1}
end
if ARGV[2] == '1' then
  touch(h)
  value = pack(h, string.sub(value, 49))
  redis.call('HSET', KEYS[1], ARGV[1], value)
  extend(h, tonumber(ARGV[3]))
end
return {0, value}
";

/// Writes a session. ARGV: handle, revision that it must be at, data, grace.
///
/// Answers {0, session}, {1} if it is at another revision, or {2} if there is none.
const WRITE: &str = r"
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then
  return {2}
end
local h = head(value)
if h.expires <= at then
  return {2}
end
if h.revision ~= tonumber(ARGV[2]) then
  return {1}
end
h.revision = h.revision + 1
touch(h)
value = pack(h, ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], value)
extend(h, tonumber(ARGV[4]))
return {0, value}
";

/// Ends a session. ARGV: handle. Answers whether it was live.
const REMOVE: &str = r"
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
return head(value).expires > at and 1 or 0
";

/// Lists the live sessions: handle and session, one after the other.
const LIST: &str = r"
local all, answer = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if head(all[i + 1]).expires > at then
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = all[i + 1]
  end
end
return answer
";

/// Ends all sessions but one. ARGV: handle of that, or nothing. Answers the handles of those that were
/// live.
const REMOVE_ALL: &str = r"
local all, answer = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if all[i] ~= ARGV[1] then
    redis.call('HDEL', KEYS[1], all[i])
    if head(all[i + 1]).expires > at then
      answer[#answer + 1] = all[i]
    end
  end
end
return answer
";

/// Removes what is over. Answers the handles.
const SWEEP: &str = r"
local all, answer = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if head(all[i + 1]).expires <= at then
    redis.call('HDEL', KEYS[1], all[i])
    answer[#answer + 1] = all[i]
  end
end
return answer
";

/// A script that a Redis without room refuses.
fn growing(body: &str) -> Script {
    Script::new(&format!("{COMMON}{body}"))
}

/// A script that runs also when Redis has no room: it makes nothing larger.
fn always(body: &str) -> Script {
    Script::new(&format!("#!lua flags=allow-oom\n{COMMON}{body}"))
}

pub(crate) static CREATE_SESSION: LazyLock<Script> = LazyLock::new(|| growing(CREATE));
pub(crate) static LOOK_SESSION: LazyLock<Script> = LazyLock::new(|| always(LOOK));
pub(crate) static WRITE_SESSION: LazyLock<Script> = LazyLock::new(|| growing(WRITE));
pub(crate) static REMOVE_SESSION: LazyLock<Script> = LazyLock::new(|| always(REMOVE));
pub(crate) static LIST_SESSIONS: LazyLock<Script> = LazyLock::new(|| always(LIST));
pub(crate) static REMOVE_SESSIONS: LazyLock<Script> = LazyLock::new(|| always(REMOVE_ALL));
pub(crate) static SWEEP_SESSIONS: LazyLock<Script> = LazyLock::new(|| always(SWEEP));
