// The HTTP API: OpenAI's chat and text completions, and what operators and tools ask beside them.
//
//     Api api(options);
//     Router router;
//     api.add_routes(router);
//     server_options.observe = api.observer();      // access log and request counters
//     Server server(server_options, std::move(router));
//     ... bind, start: /health answers 503 with the progress, everything that needs the model 503 "model_loading"
//     api.set_progress(0.4);                        // from any thread
//     api.set_ready(make_backend(std::move(engine)));
//     ... server.stop_accepting(), wait, server.stop(), then drop the Api, and with it the backend
//
// Any thread may call any function. Routes and observer share the state and may outlive this object: they then answer
// as while loading.
#pragma once

#include "base/build_info.h"
#include "server/api/backend.h"
#include "server/api/model_card.h"
#include "server/api/request.h"
#include "server/http/router.h"
#include "server/http/server.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lucebox::server {

struct ApiOptions {
    std::string model_name;                     // under which clients know the model; empty: the file's own name
    std::vector<std::string> aliases;           // more of them; requests may name any model, these are only listed
    std::size_t default_tokens = 0;             // of an answer where a request names none; 0: the card's, else what fits
    std::size_t most_thinking = 0;              // tokens of a thought, whatever the card allows; 0: the card's, else the family's
    RequestLimits limits;                       // limits.defaults: the model's recommended sampling
    std::size_t workers = 2;                    // threads that parse, render and tokenise
    std::size_t worker_queue = 256;             // requests that wait for them
    std::chrono::milliseconds heartbeat{8'000}; // longest silence of a stream
    std::chrono::milliseconds status_interval{1'000}; // between events of /status/events
    BuildInfo build{};                          // of this program
    // Provenance, written when the image is built and when the container starts; either may be missing.
    std::filesystem::path image_info = "/opt/lucebox-hub/IMAGE_INFO"; // three lines: commit, tag, time
    std::filesystem::path host_info = "/opt/lucebox-hub/HOST_INFO";   // JSON
    std::string host_facts;                                           // JSON, for where that file has none
    bool needs_key = false;                                           // reported; and stored answers are then their client's own
    bool logs_prompts = false;                                        // the access log holds what was asked
    std::size_t body_bytes = 0;                                       // only reported
};

class Api {
public:
    explicit Api(ApiOptions options);
    Api(const Api&) = delete;
    Api& operator=(const Api&) = delete;
    ~Api();

    void add_routes(Router& router);
    std::function<void(const ExchangeRecord&)> observer();

    void set_progress(double progress);  // 0..1, while the model loads
    void set_failed(const Error& error); // it will not load; /health says so
    void set_ready(std::shared_ptr<Backend> backend, std::optional<ModelCard> card = {});

    struct State;

private:
    std::shared_ptr<State> state_;
};

} // namespace lucebox::server
