// Routes that ask about the server: health, models, properties, metrics. Answered on the I/O thread at once, whatever
// the engine is doing.
#include "server/api/api_state.h"

#include <algorithm>

namespace lucebox::server {

namespace {

using StatePointer = std::shared_ptr<Api::State>;

void send_health(const Api::State& state, Responder& responder) {
    if (state.ready()) return send_json(responder, {{"status", "ok"}});
    const ApiError error = state.not_ready();
    if (error.code == "model_loading")
        return send_json(responder, {{"status", "loading model"}, {"progress", state.progress.load()}}, 503);
    send_json(responder, {{"status", "error"}, {"message", error.message}}, 503);
}

Json model_entry(const ReadyModel& model, const std::string& id) {
    const auto& info = model.backend->model();
    Json capabilities = Json::array({"completion"});
    if (model.backend->has_chat_template()) capabilities.push_back("chat");
    return {{"id", id},
            {"object", "model"},
            {"created", model.created},
            {"owned_by", "lucebox"},
            {"context_length", info.context},
            {"max_context_length", info.context},
            {"max_model_len", info.context},
            {"meta",
             {{"n_ctx_train", info.trained_context},
              {"n_params", info.parameters},
              {"n_vocab", info.vocabulary},
              {"size", info.file_bytes}}},
            {"capabilities", std::move(capabilities)}};
}

void send_models(const Api::State& state, Responder& responder) {
    const auto model = state.ready();
    if (!model) return send_error(responder, state.not_ready());
    Json list = Json::array({model_entry(*model, model->name)});
    for (const std::string& alias : state.options.aliases)
        list.push_back(model_entry(*model, alias));
    send_json(responder, {{"object", "list"}, {"data", std::move(list)}});
}

void send_model(const Api::State& state, Responder& responder, const std::string& id) {
    const auto model = state.ready();
    if (!model) return send_error(responder, state.not_ready());
    const auto& aliases = state.options.aliases;
    if (id == model->name || std::find(aliases.begin(), aliases.end(), id) != aliases.end())
        return send_json(responder, model_entry(*model, id));
    send_error(responder, {404, "invalid_request_error", "The model '" + id + "' does not exist here.", "model",
                           "model_not_found"});
}

void send_props(const Api::State& state, Responder& responder) {
    const auto model = state.ready();
    const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - state.started;
    PropsFacts facts;
    facts.provenance = &state.provenance;
    facts.backend = model ? model->backend.get() : nullptr;
    facts.model_name = model ? model->name : state.options.model_name;
    facts.defaults = state.options.limits.defaults;
    facts.needs_key = state.options.needs_key;
    facts.body_bytes = state.options.body_bytes;
    facts.uptime_seconds = uptime.count();
    facts.endpoints = state.endpoints;
    send_json(responder, props_json(facts));
}

void send_metrics(const Api::State& state, Responder& responder) {
    const auto model = state.ready();
    std::optional<engine::Stats> stats;
    if (model) stats = model->backend->stats();
    responder.respond(
        200, {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}},
        state.metrics.text(stats ? &*stats : nullptr, state.provenance.git_sha, state.provenance.image_tag));
}

// Known elsewhere, not built here: a client learns more from this than from "not found".
void send_not_implemented(Responder& responder) {
    send_error(responder, {501, "invalid_request_error",
                           responder.request().method + " " + responder.request().path + " is not supported.", "",
                           "not_implemented"});
}

} // namespace

void add_info_routes(const AddRoute& add, const StatePointer& state) {
    const auto get = [&](std::string_view pattern, auto function, RouteOptions options = {}) {
        add(
            "GET", pattern,
            [state, function](const Request&, const std::shared_ptr<Responder>& responder) {
                function(*state, *responder);
            },
            options);
    };
    get("/health", send_health, {.open = true});
    get("/ready", send_health, {.open = true});
    get("/v1/models", send_models);
    get("/models", send_models);
    get("/props", send_props);
    get("/metrics", send_metrics);
    add("GET", "/v1/models/{id*}",
        [state](const Request& request, const std::shared_ptr<Responder>& responder) {
            send_model(*state, *responder, std::string(request.parameter("id")));
        },
        {});
    const auto refuse = [](const Request&, const std::shared_ptr<Responder>& responder) {
        send_not_implemented(*responder);
    };
    add("GET", "/slots", refuse, {});
    for (const char* path :
         {"/v1/embeddings", "/v1/rerank", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"})
        add("POST", path, refuse, {});
}

} // namespace lucebox::server
