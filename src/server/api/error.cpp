#include "server/api/error.h"

#include "server/api/json.h"

#include <fmt/format.h>

namespace lucebox::server {

ApiError bad_field(std::string param, std::string message) {
    ApiError error;
    error.message = std::move(message);
    error.param = std::move(param);
    return error;
}

ApiError unsupported_field(std::string param, std::string message) {
    ApiError error = bad_field(std::move(param), std::move(message));
    error.code = "unsupported";
    return error;
}

// Clients recognise this error by these words.
ApiError context_exceeded(std::size_t context, std::size_t prompt_tokens, std::size_t completion_tokens) {
    ApiError error = bad_field(
        "messages", fmt::format("This model's maximum context length is {} tokens. However, you "
                                "requested {} tokens ({} in the messages, {} in the completion).",
                                context, prompt_tokens + completion_tokens, prompt_tokens, completion_tokens));
    error.code = "context_length_exceeded";
    return error;
}

ApiError model_loading(double progress) {
    return {503, "server_error",  fmt::format("The model is still loading ({:.0f} %).", 100 * progress),
            "",  "model_loading", 5};
}

ApiError queue_full(const std::string& why) {
    return {429, "rate_limit_error", why + "; try again later.", "", "queue_full", 1};
}

ApiError from_error(const Error& error, std::string param) {
    const std::string message = error.hint.empty() ? error.message : error.message + " " + error.hint;
    switch (error.kind) {
    case ErrorKind::usage:
    case ErrorKind::invalid_data: return bad_field(std::move(param), message);
    case ErrorKind::unsupported: return unsupported_field(std::move(param), message);
    case ErrorKind::not_found: return {404, "invalid_request_error", message, std::move(param), "not_found"};
    case ErrorKind::unavailable: return {503, "server_error", message, "", "unavailable", 5};
    case ErrorKind::out_of_memory: return {500, "server_error", message, "", "out_of_memory"};
    case ErrorKind::io:
    case ErrorKind::cancelled:
    case ErrorKind::internal: break;
    }
    return {500, "server_error", message, "", "internal_error"};
}

std::string error_json(const ApiError& error) {
    const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
    return to_text({{"error",
                     {{"message", error.message},
                      {"type", error.type},
                      {"param", or_null(error.param)},
                      {"code", or_null(error.code)}}}});
}

bool is_anthropic(std::string_view path) { return path == "/v1/messages" || path.starts_with("/v1/messages/"); }

int status_for(const ApiError& error, std::string_view path) {
    if (path == "/v1/responses" && error.status == 429) return 503;
    if (!is_anthropic(path)) return error.status;
    return error.status == 429 || error.status == 503 ? 529 : error.status;
}

namespace {

// The closed set that Anthropic's clients know.
std::string_view anthropic_type(int status) {
    switch (status) {
    case 400:
    case 405:
    case 501: return "invalid_request_error";
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503:
    case 529: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
    }
}

} // namespace

std::string anthropic_error_json(const ApiError& error, std::string_view request_id) {
    const int status = error.status == 429 ? 529 : error.status;
    Json inner{{"type", anthropic_type(status)}, {"message", error.message}};
    // Clients that would have the server hold their conversation go on without, if the refusal has this form.
    if (error.code == threads_unsupported_code) inner["details"] = {{"error_code", error.code}, {"unsupported", Json::array({"thread"})}};
    return to_text({{"type", "error"}, {"error", std::move(inner)}, {"request_id", request_id}});
}

std::string error_body(const ApiError& error, const Request& request) {
    return is_anthropic(request.path) ? anthropic_error_json(error, request.id) : error_json(error);
}

ErrorBody error_in_dialect(const TransportError& error) {
    if (!is_anthropic(error.path)) return openai_error_body(error);
    ApiError same;
    same.status = error.status;
    same.message = error.message;
    return {"application/json", anthropic_error_json(same, error.request_id)};
}

Headers error_headers(const ApiError& error) {
    Headers headers{{"Content-Type", "application/json"}};
    if (error.retry_after > 0) headers.emplace_back("Retry-After", std::to_string(error.retry_after));
    // OpenAI's and Anthropic's clients would try again after any 5xx.
    if (error.status == 501) headers.emplace_back("x-should-retry", "false");
    return headers;
}

} // namespace lucebox::server
