// Routes that ask about the server: health, models, properties, metrics. Answered on the I/O thread at once, whatever
// the engine is doing.
#include "server/api/api_state.h"
#include "server/api/pages.h"
#include "server/api/status_events.h"

#include <algorithm>

namespace lucebox::server {

namespace {

using StatePointer = std::shared_ptr<Api::State>;

void send_health(const Api::State& state, Responder& responder) {
    if (const auto model = state.ready()) {
        const auto failure = model->backend->failure();
        if (!failure) return send_json(responder, {{"status", "ok"}});
        return send_json(responder, {{"status", "error"}, {"message", failure->message}}, 503);
    }
    const ApiError error = state.not_ready();
    if (error.code == "model_loading")
        return send_json(responder, {{"status", "loading model"}, {"progress", state.progress.load()}}, 503);
    send_json(responder, {{"status", "error"}, {"message", error.message}}, 503);
}

Json model_entry(const ReadyModel& model, const std::string& id) {
    const auto& info = model.backend->model();
    Json capabilities = Json::array({"completion"});
    if (model.backend->has_chat_template()) {
        capabilities.push_back("chat");
        capabilities.push_back("tools");
    }
    if (model.prompts.style().reasons()) capabilities.push_back("reasoning");
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

// What an agent is told that has no words of its own for the model; short, since small models lose a long text's thread.
constexpr const char* kAgentInstructions =
    "You are a coding agent that works in the user's repository through the tools you are given. Look before you change: read the files "
    "that matter, and search for what you need. Make the smallest change that does what is asked, in the style of the code around it, and "
    "change files with the tools, never by only showing code. Then run what shows that it works: the program or its tests. If a command fails, "
    "read what it says and try something else. Don't touch what you were not asked about, and don't commit unless asked. When the task is "
    "done, say in a few sentences what you changed and what you ran; if you could not do it, say so and why.";

// The list as Codex reads it, which it asks for with its version. All of these keys are needed there.
Json codex_models(const ReadyModel& model) {
    Json efforts = Json::array();
    for (const auto& [effort, description] : {std::pair{"low", "Short thoughts"}, {"medium", "Some thought"}, {"high", "Long thoughts"}, {"xhigh", "As long as it takes"}})
        efforts.push_back({{"effort", effort}, {"description", description}});
    const bool reasons = model.prompts.style().reasons();
    return {{"models", Json::array({{{"slug", model.name},
                                     {"display_name", model.name},
                                     {"description", "Served by Lucebox"},
                                     {"default_reasoning_level", reasons ? Json("medium") : Json()},
                                     {"supported_reasoning_levels", reasons ? efforts : Json::array()},
                                     {"shell_type", "shell_command"},
                                     {"visibility", "list"},
                                     {"supported_in_api", true},
                                     {"priority", 1},
                                     {"base_instructions", kAgentInstructions},
                                     {"supports_reasoning_summaries", reasons},
                                     {"support_verbosity", false},
                                     {"default_verbosity", Json()},
                                     {"apply_patch_tool_type", Json()},
                                     {"truncation_policy", {{"mode", "bytes"}, {"limit", 10'000}}},
                                     {"supports_parallel_tool_calls", true},
                                     {"context_window", model.backend->model().context},
                                     {"effective_context_window_percent", 95},
                                     {"experimental_supported_tools", Json::array()}}})}};
}

void send_models(const Api::State& state, Responder& responder) {
    const auto model = state.ready();
    if (!model) return send_error(responder, state.not_ready());
    if (responder.request().query_parameter("client_version")) return send_json(responder, codex_models(*model));
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
    facts.defaults = model ? model->limits.defaults : state.options.limits.defaults;
    facts.card = model && model->card ? &*model->card : nullptr;
    facts.budgets = model ? &model->budgets : nullptr;
    facts.usual_tokens = model ? model->usual_tokens : 0;
    facts.reasons = model && model->prompts.style().reasons();
    facts.volatile_lines = state.options.limits.volatile_lines;
    facts.needs_key = state.options.needs_key;
    facts.tool_memory = &state.tool_memory;
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

void send_page(Responder& responder, std::string_view page) {
    // The page is all there is: nothing else may be loaded, nobody may put it into a frame.
    responder.respond(200,
                      {{"Content-Type", "text/html; charset=utf-8"},
                       {"Cache-Control", "no-cache"},
                       {"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
                                                   "img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
                       {"X-Content-Type-Options", "nosniff"},
                       {"Referrer-Policy", "no-referrer"}},
                      std::string(page));
}

// What the status page shows. Numbers only: nothing of what anybody wrote.
Json status_of(const Api::State& state) {
    const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - state.started;
    const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
    const Provenance& from = state.provenance;
    Json json{{"phase", "loading"},
              {"uptime_s", uptime.count()},
              {"build", {{"server_version", from.version}, {"git_sha", or_null(from.git_sha)}, {"image_tag", or_null(from.image_tag)}, {"build_time", or_null(from.build_time)}}},
              {"host", from.host},
              {"prompts", state.prompts_read.json()}};
    if (const auto model = state.ready()) {
        const engine::Stats stats = model->backend->stats();
        const engine::Memory& memory = model->backend->memory();
        const engine::ModelInfo& info = model->backend->model();
        json["phase"] = !json["prompts"].empty() ? "prefill" : stats.running > 0 ? "decode" : "idle";
        json["sequences"] = model->backend->options().sequences;
        json["stats"] = {{"running", stats.running}, {"waiting", stats.waiting}, {"requests_finished", stats.requests_finished},
                         {"requests_cancelled", stats.requests_cancelled}, {"requests_failed", stats.requests_failed}, {"requests_refused", stats.requests_refused},
                         {"prompt_tokens", stats.prompt_tokens}, {"generated_tokens", stats.generated_tokens}, {"steps", stats.steps},
                         {"prefix_hits", stats.prefix_hits}, {"prefix_misses", stats.prefix_misses}, {"prefix_tokens", stats.prefix_tokens}, {"kv_tokens", stats.kv_tokens}};
        const decode::SpeculationStats& guesses = stats.speculation;
        json["speculation"] = {{"steps", guesses.steps}, {"tokens", guesses.tokens}, {"drafted", guesses.drafted}, {"accepted", guesses.accepted}};
        json["memory"] = {{"weights", memory.weights}, {"kv", memory.kv}, {"recurrent", memory.recurrent}, {"scratch", memory.scratch}};
        json["model"] = {{"name", model->name}, {"architecture", info.architecture}, {"quantisation", info.quantisation}, {"context", info.context}, {"device", model->backend->device_name()}};
    }
    return json;
}

// Known elsewhere, not built here, with whatever lies below: a client learns more from this than from "not found".
constexpr std::string_view kNotServed[] = {
    "/v1/responses/{id*}", "/v1/chat/completions/{id*}", "/v1/conversations", "/v1/assistants", "/v1/threads", "/v1/realtime", // what OpenAI stores
    "/v1/files", "/v1/uploads", "/v1/batches", "/v1/fine_tuning/{what*}", "/v1/vector_stores", "/v1/containers", "/v1/evals",
    "/v1/audio/{what*}", "/v1/images/{what*}", "/v1/videos", "/v1/moderations",
    "/v1/messages/batches", "/v1/skills", "/v1/complete",                       // Anthropic
    "/slots", "/infill", "/lora-adapters", "/rerank", "/v1/rerank", "/v1/score", "/v1/systemone"};

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
    // Pages hold nothing that a key protects; what they ask for does.
    get("/", [](const Api::State&, Responder& responder) { send_page(responder, chat_page); }, {.open = true});
    get("/status", [](const Api::State&, Responder& responder) { send_page(responder, status_page); }, {.open = true});
    get("/status/json", [](const Api::State& at, Responder& responder) { send_json(responder, status_of(at)); });
    add("GET", "/status/events",
        [state](const Request&, const std::shared_ptr<Responder>& responder) {
            stream_status(
                responder, [state] { return status_of(*state); }, state->options.status_interval, state->options.heartbeat);
        },
        {});
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
    for (const std::string_view path : kNotServed) {
        for (const char* method : {"GET", "POST", "DELETE"}) {
            add(method, path, refuse, {.served = false});
            if (!path.ends_with('}')) add(method, std::string(path) + "/{what*}", refuse, {.served = false});
        }
    }
}

} // namespace lucebox::server
