-- One point read of a random row per request, as a Hrana pipeline over HTTP.
local rows = 100000
local head = '{"baton":null,"requests":[{"type":"execute","stmt":{"sql":"select bal from acc where id=?","args":[{"type":"integer","value":"'
local tail = '"}]}},{"type":"close"}]}'
function init(args)
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
end
function request()
  return wrk.format("POST", "/v2/pipeline", nil, head .. math.random(rows) .. tail)
end
