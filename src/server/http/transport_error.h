// An error that the transport itself answers, before or instead of a handler.
//
// The API layer may give a formatter that puts it into the dialect of the path (OpenAI, Anthropic). The formatter is
// called on I/O threads, must not block, and must not throw.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace lucebox::server {

struct TransportError {
    int status = 400;      // 400 401 403 404 405 408 411 413 414 417 431 500 501 503 505
    std::string_view code; // "invalid_api_key", "not_found", ...: stable, for programs
    std::string_view type; // OpenAI's error class: invalid_request_error, authentication_error, server_error, ...
    std::string message;   // one sentence for a person
    std::string_view path; // "" when the request was not understood that far
    std::string_view request_id;
};

struct ErrorBody {
    std::string content_type;
    std::string body;
};

using ErrorFormatter = std::function<ErrorBody(const TransportError&)>;

// {"error":{"message","type","param":null,"code"}}
ErrorBody openai_error_body(const TransportError& error);

} // namespace lucebox::server
