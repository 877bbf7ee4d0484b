-- Hrana pipelines over HTTP, one statement on a random row each: `wrk … URL -- update` or `-- read`.
local rows = 100000
local stmts = {
  update = '"sql":"update acc set bal=bal+? where id=?","args":[{"type":"integer","value":"1"},',
  read = '"sql":"select bal, filler from acc where id=?","args":[',
}
local tail = '"}]}},{"type":"close"}]}'
local threads = 0
local head
function setup(thread)
  thread:set("seed", os.time() + threads)
  threads = threads + 1
end
function init(args)
  math.randomseed(seed)
  wrk.headers["content-type"] = "application/json"
  head = '{"baton":null,"requests":[{"type":"execute","stmt":{' .. stmts[args[1]] .. '{"type":"integer","value":"'
end
function request()
  return wrk.format("POST", "/v2/pipeline", nil, head .. math.random(rows) .. tail)
end
local told = false
function response(status, headers, body)
  if not told and (status ~= 200 or body:find('"type":"error"', 1, true)) then
    told = true
    io.stderr:write("failed: " .. body .. "\n")
  end
end
