// Any bytes as the body of a request: refused by a field's name, or typed values within their limits.
#include "server/api/request.h"

#include <cstdint>
#include <cstdlib>

namespace lucebox::server {
namespace {

void use(bool condition) {
    if (!condition) std::abort();
}

void use_error(const ApiError& error) {
    use(error.status >= 400 && error.status < 500 && !error.message.empty());
    (void)to_text(Json{{"message", error.message}, {"param", error.param}});
}

void use_options(const GenerationOptions& options, const RequestLimits& limits) {
    use(bool(decode::validate(options.sampling)));
    use(options.n >= 1 && options.n <= static_cast<std::size_t>(limits.choices));
    use(options.stop.size() <= limits.stops && options.top_logprobs <= 20 && options.top_logprobs >= 0);
}

} // namespace
} // namespace lucebox::server

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lucebox::server;
    const RequestLimits limits;
    const auto body = parse_json({reinterpret_cast<const char*>(data), size});
    if (const auto* error = std::get_if<ApiError>(&body)) {
        use_error(*error);
        return 0;
    }
    const Json& json = std::get<Json>(body);
    (void)to_text(json);
    const auto chat = parse_chat_request(json, limits);
    if (const auto* error = std::get_if<ApiError>(&chat)) use_error(*error);
    else use_options(std::get<ChatRequest>(chat).options, limits);
    const auto completion = parse_completion_request(json, limits);
    if (const auto* error = std::get_if<ApiError>(&completion)) use_error(*error);
    else use_options(std::get<CompletionRequest>(completion).options, limits);
    const auto tokenize = parse_tokenize_request(json);
    if (const auto* error = std::get_if<ApiError>(&tokenize)) use_error(*error);
    const auto detokenize = parse_detokenize_request(json, limits);
    if (const auto* error = std::get_if<ApiError>(&detokenize)) use_error(*error);
    return 0;
}
