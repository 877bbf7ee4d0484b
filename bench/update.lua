-- One autocommit update of a random row per request, as a Hrana pipeline over HTTP.
local rows = 100000
local head = '{"baton":null,"requests":[{"type":"execute","stmt":{"sql":"update acc set bal=bal+? where id=?","args":[{"type":"integer","value":"1"},{"type":"integer","value":"'
local tail = '"}]}},{"type":"close"}]}'
local threads = 0
function setup(thread)
  thread:set("seed", os.time() + threads)
  threads = threads + 1
end
function init(args)
  math.randomseed(seed)
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
end
function request()
  return wrk.format("POST", "/v2/pipeline", nil, head .. math.random(rows) .. tail)
end
local bad = 0
function response(status, headers, body)
  if status ~= 200 or body:find('"type":"error"', 1, true) then bad = bad + 1 end
  if bad == 1 then io.stderr:write("failed: " .. body .. "\n") end
end
