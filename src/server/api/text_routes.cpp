// Routes that show what the model reads: tokenize, detokenize, apply-template.
#include "server/api/api_state.h"

namespace lucebox::server {

namespace {

using StatePointer = std::shared_ptr<Api::State>;

std::string readable(std::string_view bytes) {
    text::Utf8Stream stream;
    std::string text = stream.push(bytes);
    return text += stream.finish();
}

// A token's text, or its bytes where they are only part of a character.
Json piece_json(const std::string& bytes) {
    std::string text = readable(bytes);
    if (text == bytes) return text;
    Json list = Json::array();
    for (const char byte : bytes)
        list.push_back(static_cast<unsigned char>(byte));
    return list;
}

void tokenize(const std::shared_ptr<Responder>& responder, const ReadyModel& model, const Json& body) {
    auto parsed = parse_tokenize_request(body);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    const auto& request = std::get<TokenizeRequest>(parsed);
    const auto& tokenizer = model.backend->tokenizer();
    const auto ids =
        tokenizer.encode(request.content, {.add_special = request.add_special, .parse_special = request.parse_special});
    Json tokens = Json::array();
    for (const auto id : ids) {
        if (request.with_pieces)
            tokens.push_back({{"id", id}, {"piece", piece_json(tokenizer.token_bytes(id, true))}});
        else
            tokens.push_back(id);
    }
    Json answer = Json::object();
    answer["tokens"] = std::move(tokens);
    send_json(*responder, answer);
}

void detokenize(const Api::State& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model,
                const Json& body) {
    auto parsed = parse_detokenize_request(body, state.options.limits);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    auto ids = std::move(std::get<std::vector<text::TokenId>>(parsed));
    if (!ids.empty()) {
        auto checked = model.prompts.completion(std::move(ids), "tokens");
        if (const auto* error = std::get_if<ApiError>(&checked)) return send_error(*responder, *error);
        ids = std::move(std::get<std::vector<text::TokenId>>(checked));
    }
    send_json(*responder, {{"content", readable(model.backend->tokenizer().decode(ids, true))}});
}

void apply_template(const Api::State& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model,
                    const Json& body) {
    auto parsed = parse_chat_request(body, state.options.limits);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    auto text = model.prompts.chat_text(std::get<ChatRequest>(parsed));
    if (const auto* error = std::get_if<ApiError>(&text)) return send_error(*responder, *error);
    send_json(*responder, {{"prompt", std::get<std::string>(text)}});
}

} // namespace

void add_text_routes(const AddRoute& add, const StatePointer& state) {
    const auto post = [&](std::string_view pattern, Api::State::Work work) {
        add("POST", pattern,
            [state, work = std::move(work)](const Request&, std::shared_ptr<Responder> responder) {
                state->with_body(std::move(responder), work);
            },
            {});
    };
    // The state outlives its jobs: the worker threads are joined by the Api, which holds it.
    const Api::State* shared = state.get();
    post("/tokenize", tokenize);
    post("/detokenize", [shared](const auto& responder, const auto& model, const Json& body) {
        detokenize(*shared, responder, model, body);
    });
    post("/apply-template", [shared](const auto& responder, const auto& model, const Json& body) {
        apply_template(*shared, responder, model, body);
    });
}

} // namespace lucebox::server
