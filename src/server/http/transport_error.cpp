#include "server/http/transport_error.h"

#include <nlohmann/json.hpp>

namespace lucebox::server {

ErrorBody openai_error_body(const TransportError& error) {
    const nlohmann::ordered_json body = {
        {"error", {{"message", error.message}, {"type", error.type}, {"param", nullptr}, {"code", error.code}}}};
    // The message may quote the request; bytes that are no UTF-8 become U+FFFD instead of an exception.
    return {"application/json", body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

} // namespace lucebox::server
