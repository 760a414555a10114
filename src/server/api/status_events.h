// GET /status/events: what /status/json says, as a stream of server-sent events.
//
// `status`: the whole, whenever more than the uptime has changed, at most once in an interval. `token`: how many tokens were
// generated since the last one; never what they say. Silence is broken by comments. Ends when the client leaves or the server
// drains. Thread-safe.
#pragma once

#include "server/api/json.h"
#include "server/http/responder.h"

#include <functional>
#include <memory>

namespace lucebox::server {

// `status` is called on I/O threads and must not block.
void stream_status(std::shared_ptr<Responder> responder, std::function<Json()> status, std::chrono::milliseconds interval,
                   std::chrono::milliseconds heartbeat);

} // namespace lucebox::server
