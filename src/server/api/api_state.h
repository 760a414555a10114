// What the routes share. Private to src/server/api.
#pragma once

#include "server/api/answer_format.h"
#include "server/api/api.h"
#include "server/api/dialects.h"
#include "server/api/metrics.h"
#include "server/api/prompt.h"
#include "server/api/prompts_read.h"
#include "server/api/props.h"
#include "server/api/tool_memory.h"
#include "server/api/workers.h"

#include <atomic>
#include <mutex>
#include <optional>
#include <unordered_map>

namespace lucebox::server {

// A loaded model and what is prepared from it; constant once published.
struct ReadyModel {
    std::shared_ptr<Backend> backend;
    std::string name;
    std::string fingerprint;
    std::int64_t created = 0;
    PromptBuilder prompts;
    std::optional<ModelCard> card;
    Budgets budgets;      // the card's, else the family's
    RequestLimits limits; // with the card's sampling
    std::size_t usual_tokens = 0; // of an answer where a request names none
};

struct Api::State : std::enable_shared_from_this<Api::State> {
    explicit State(ApiOptions given)
        : options(std::move(given)), provenance(load_provenance(options.build, options.image_info, options.host_info, options.host_facts)) {
    }

    std::shared_ptr<const ReadyModel> ready() const; // null: loading, or failed
    ApiError not_ready() const;

    // Runs `work` on a worker thread with the request's JSON; answers itself if that is impossible.
    using Work = std::function<void(const std::shared_ptr<Responder>&, const ReadyModel&, const Json& body)>;
    void with_body(std::shared_ptr<Responder> responder, Work work);

    bool post(std::function<void()> job); // to a worker thread; false: they are too busy

    void observe(const ExchangeRecord& record);
    void note_usage(const std::string& request_id, const Usage& usage);

    const ApiOptions options;
    const Provenance provenance;
    const std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
    Metrics metrics;
    std::vector<std::string> endpoints; // constant once the routes are added

    PromptsRead prompts_read;
    ResponseStore responses{1024, 64u << 20}; // conversations for previous_response_id: 64 MB
    ToolMemory tool_memory{50'000, 64u << 20}; // 64 MB: some ten thousand calls

    std::atomic<double> progress{0};
    mutable std::mutex mutex;
    std::shared_ptr<const ReadyModel> model;
    std::optional<Error> failure;
    std::unordered_map<std::string, Usage> usages; // of answers that are about to end, for the access log

    std::unique_ptr<Workers> workers; // owned by the Api: its threads must not join themselves
};

void send_json(Responder& responder, const Json& json, int status = 200);
void send_error(Responder& responder, const ApiError& error);
// Names of fields that had no effect. Only plain names: they go into a header.
Headers told_headers(const std::vector<std::string>& ignored);

// Each registers its routes with `add`, which also notes the endpoint.
using AddRoute = std::function<void(std::string_view method, std::string_view pattern, Handler, RouteOptions)>;
void add_info_routes(const AddRoute& add, const std::shared_ptr<Api::State>& state);
void add_text_routes(const AddRoute& add, const std::shared_ptr<Api::State>& state);
void add_generation_routes(const AddRoute& add, const std::shared_ptr<Api::State>& state);
void add_embedding_routes(const AddRoute& add, const std::shared_ptr<Api::State>& state);

} // namespace lucebox::server
