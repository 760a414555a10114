// What goes wrong with a request, in the dialect of its route. OpenAI's: {"error":{"message","type","param","code"}}, param
// and code null where they say nothing. Anthropic's: {"type":"error","error":{"type","message"},"request_id"}.
#pragma once

#include "base/result.h"
#include "server/http/responder.h"
#include "server/http/transport_error.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

namespace lucebox::server {

struct ApiError {
    int status = 400;
    std::string type = "invalid_request_error";
    std::string message; // one sentence for a person
    std::string param;   // the field at fault: "messages[2].content"; empty: none
    std::string code;    // for programs: "context_length_exceeded"; empty: none
    int retry_after = 0; // seconds; 0: no Retry-After header
};

constexpr std::string_view threads_unsupported_code = "thread_unsupported_request"; // of /v1/messages

// Either a value or the error to send.
template <class T>
using Answer = std::variant<T, ApiError>;

ApiError bad_field(std::string param, std::string message);
ApiError unsupported_field(std::string param, std::string message);
ApiError context_exceeded(std::size_t context, std::size_t prompt_tokens, std::size_t completion_tokens);
ApiError model_loading(double progress);
ApiError queue_full(const std::string& why = "All sequences are busy and the queue is full");
// For errors of the engine and the text layer. `param`: where to look, if the request is to blame.
ApiError from_error(const Error& error, std::string param = {});

std::string error_json(const ApiError& error);
Headers error_headers(const ApiError& error);

// Routes under /v1/messages speak Anthropic's dialect.
bool is_anthropic(std::string_view path);
std::string anthropic_error_json(const ApiError& error, std::string_view request_id);
// Statuses differ too: what is 429 or 503 elsewhere is 529 there. A full queue is 503 on /v1/responses, because Codex tries
// again after that and not after 429.
int status_for(const ApiError& error, std::string_view path);
std::string error_body(const ApiError& error, const Request& request);
// For the transport's own errors (401, 404, ...).
ErrorBody error_in_dialect(const TransportError& error);

} // namespace lucebox::server
