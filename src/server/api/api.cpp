#include "server/api/api.h"

#include "base/log.h"
#include "server/api/api_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <exception>

namespace lucebox::server {

namespace {

constexpr std::size_t kMostNotes = 4096; // usages that wait for their access line; more means that lines were lost

// Paths with parts that clients choose share one label.
std::string_view route_label(const Request* request, const std::vector<std::string>& endpoints) {
    if (request == nullptr) return "none";
    if (request->path.starts_with("/v1/models/")) return "/v1/models/{id}";
    for (const std::string& endpoint : endpoints) {
        const std::string_view path = std::string_view(endpoint).substr(endpoint.find(' ') + 1);
        if (path == request->path) return path;
    }
    return "other";
}

} // namespace

void send_json(Responder& responder, const Json& json, int status) {
    responder.respond(status, {{"Content-Type", "application/json"}}, to_text(json));
}

void send_error(Responder& responder, const ApiError& error) {
    responder.respond(status_for(error, responder.request().path), error_headers(error), error_body(error, responder.request()));
}

Headers told_headers(const std::vector<std::string>& ignored) {
    std::string names;
    for (const std::string& name : ignored) {
        const bool plain = name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
        });
        if (plain && names.size() < 1024) names += (names.empty() ? "" : ", ") + name;
    }
    if (names.empty()) return {};
    return {{"x-lucebox-ignored", names}};
}

std::shared_ptr<const ReadyModel> Api::State::ready() const {
    const std::lock_guard lock(mutex);
    return model;
}

ApiError Api::State::not_ready() const {
    const std::lock_guard lock(mutex);
    if (!failure) return model_loading(progress);
    return {503, "server_error", "The model could not be loaded: " + failure->message, "", "model_failed"};
}

void Api::State::with_body(std::shared_ptr<Responder> responder, Work work) {
    auto model_now = ready();
    if (!model_now) return send_error(*responder, not_ready());
    auto job = [responder, model_now, work = std::move(work)] {
        if (!responder->alive()) return; // it left while it waited
        try {
            auto body = parse_json(responder->request().body);
            if (const auto* error = std::get_if<ApiError>(&body)) return send_error(*responder, *error);
            work(responder, *model_now, std::get<Json>(body));
        } catch (const std::exception& error) { // out of memory, or our own bug: this request alone pays for it
            log_error("request {}: {}", responder->request().id, error.what());
            send_error(*responder,
                       {500, "server_error", "The server failed to handle this request.", "", "internal_error"});
        }
    };
    if (!post(std::move(job))) send_error(*responder, queue_full());
}

bool Api::State::post(std::function<void()> job) {
    const std::lock_guard lock(mutex);
    return workers && workers->post(std::move(job));
}

void Api::State::note_usage(const std::string& request_id, const Usage& usage) {
    const std::lock_guard lock(mutex);
    if (usages.size() >= kMostNotes) usages.clear();
    usages[request_id] = usage;
}

// Asked every second or so by whoever watches over the server: in the log they would bury the rest.
bool is_a_watchers(std::string_view path) { return path == "/health" || path == "/ready"; }

constexpr std::size_t kMostLoggedBytes = 16 * 1024; // of a prompt; the log itself escapes what would forge lines

// Who, what, how it ended and what it cost; what was said only if the operator wants that.
void Api::State::observe(const ExchangeRecord& record) {
    metrics.add_request(route_label(record.request, endpoints), record.status);
    if (record.request == nullptr)
        return log_info("access - - {} {} B {} ms", record.status, record.bytes, record.duration.count());
    std::string tokens;
    {
        const std::lock_guard lock(mutex);
        if (const auto usage = usages.find(record.request->id); usage != usages.end()) {
            tokens = fmt::format(" prompt={} cached={} completion={}", usage->second.prompt_tokens,
                                 usage->second.cached_tokens, usage->second.completion_tokens);
            usages.erase(usage);
        }
    }
    std::string asked;
    if (options.logs_prompts && !record.request->body.empty()) {
        const std::string_view body = record.request->body;
        asked = fmt::format(" asked={}{}", body.substr(0, kMostLoggedBytes), body.size() > kMostLoggedBytes ? "..." : "");
    }
    const std::string line =
        fmt::format("access {} {} {} {} {} B {} ms id={}{}{}{}", record.request->remote_address, record.request->method, record.request->path,
                    record.status, record.bytes, record.duration.count(), record.request->id, tokens, record.disconnected ? " disconnected" : "", asked);
    if (is_a_watchers(record.request->path)) log_debug("{}", line);
    else log_info("{}", line);
}

Api::Api(ApiOptions options) : state_(std::make_shared<State>(std::move(options))) {
    state_->workers = std::make_unique<Workers>(state_->options.workers, state_->options.worker_queue);
}

Api::~Api() {
    std::unique_ptr<Workers> workers;
    std::shared_ptr<const ReadyModel> model;
    {
        const std::lock_guard lock(state_->mutex);
        workers = std::move(state_->workers);
        model = std::move(state_->model);
    }
    workers.reset(); // jobs take the mutex too, so it must be free here; the model goes last
}

void Api::add_routes(Router& router) {
    const AddRoute add = [&](std::string_view method, std::string_view pattern, Handler handler, RouteOptions options) {
        if (options.served) state_->endpoints.push_back(fmt::format("{} {}", method, pattern));
        router.add(method, pattern, std::move(handler), options);
    };
    add_info_routes(add, state_);
    add_text_routes(add, state_);
    add_generation_routes(add, state_);
    add_embedding_routes(add, state_);
}

std::function<void(const ExchangeRecord&)> Api::observer() {
    return [state = state_](const ExchangeRecord& record) { state->observe(record); };
}

void Api::set_progress(double progress) {
    state_->progress = std::clamp(progress, 0.0, 1.0);
}

void Api::set_failed(const Error& error) {
    const std::lock_guard lock(state_->mutex);
    state_->failure = error;
}

void Api::set_ready(std::shared_ptr<Backend> backend, std::optional<ModelCard> card) {
    RenderTemplate render;
    if (backend->has_chat_template())
        render = [raw = backend.get()](const Json& variables) { return raw->render_chat(variables); };
    const auto& info = backend->model();
    const std::string name = state_->options.model_name.empty() ? info.name : state_->options.model_name;
    Budgets budgets = card ? card->budgets : family_budgets(info.architecture);
    if (state_->options.most_thinking != 0) budgets.limit_thinking(state_->options.most_thinking);
    RequestLimits limits = state_->options.limits;
    if (card) limits.defaults = card->sampling;
    // Without a card an answer may take all that the context holds.
    const std::size_t by_model = card ? budgets.answer : info.context;
    const std::size_t usual_tokens = state_->options.default_tokens != 0 ? state_->options.default_tokens : by_model;
    // Equal for answers that were computed by the same program from the same weights.
    const std::string build =
        state_->provenance.git_sha.empty() ? state_->provenance.version : state_->provenance.git_sha.substr(0, 12);
    auto ready = std::make_shared<const ReadyModel>(
        ReadyModel{backend, name, fmt::format("lucebox-{}-{}", build, info.quantisation), std::time(nullptr),
                   PromptBuilder(backend->tokenizer(), std::move(render), backend->chat_template_source()), std::move(card), std::move(budgets),
                   std::move(limits), usual_tokens});
    const std::lock_guard lock(state_->mutex);
    state_->model = std::move(ready);
}

} // namespace lucebox::server
