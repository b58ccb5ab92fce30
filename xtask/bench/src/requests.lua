-- Sends the requests of a file, which NUL bytes part, and prints what came of them:
-- "onsale" answers seconds p99_us failures refusals
-- Arguments: the file; "again" to begin anew at its end or "once". Answers are not looked at here, as that would cost more
-- than sending: wrk counts those with a status of 400 and more.
local requests, sent, last = {}, 0, 0

function init(args)
  local file = assert(io.open(args[1], 'rb'))
  for one in file:read('*a'):gmatch('[^%z]+') do
    requests[#requests + 1] = one
  end
  file:close()
  last = args[2] == 'again' and #requests or math.huge
end

function request()
  if sent >= last then sent = 0 end
  sent = sent + 1
  -- Past the end of what is sent once, the last one: the count tells that there were too few.
  return requests[sent] or requests[#requests]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format('onsale %d %.6f %.0f %d %d', summary.requests, summary.duration / 1e6, latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
