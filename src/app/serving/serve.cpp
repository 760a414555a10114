// lucebox serve: the HTTP server from start to drain.
//
// The port is taken first and /health tells the truth while the model is fetched and loaded. The main thread waits for
// signals; the first SIGTERM or SIGINT drains, a second one cuts.
#include "app/commands.h"
#include "app/serving/api_keys.h"
#include "app/serving/tuning.h"
#include "base/build_info.h"
#include "base/file.h"
#include "base/log.h"
#include "base/terminal.h"
#include "hub/host_facts.h"
#include "server/api/api.h"
#include "server/api/error.h"
#include "server/http/server.h"

#include <fmt/color.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <sstream>
#include <string_view>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

namespace lucebox::app {
namespace {

// Which build answers, for a response header: "0.1.0+0123abc".
std::string build_name() {
    const BuildInfo& build = build_info();
    return build.git_sha.empty() ? std::string(build.version) : fmt::format("{}+{}", build.version, build.git_sha.substr(0, 7));
}

bool is_loopback(std::string_view host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

// Inside a container the server listens everywhere; whoever published its port on this machine alone shows a loopback address.
bool is_shown_on_loopback(std::string_view url) {
    const auto begin = url.find("://");
    if (begin == url.npos) return false;
    const std::string_view host = url.substr(begin + 3);
    return is_loopback(host.substr(0, host.find_first_of(":/")));
}

Result<server::ServerOptions> server_options(const Options& options) {
    server::ServerOptions out;
    out.address = options.text("host");
    out.port = static_cast<std::uint16_t>(options.integer("port"));
    out.build = build_name();
    out.limits.body_bytes = static_cast<std::size_t>(options.integer("max-body"));
    LUCEBOX_TRY(out.access.api_keys, api_keys(options));
    out.access.allowed_hosts = options.list("allowed-hosts");
    out.access.allowed_origins = options.list("allowed-origins");
    if (!is_loopback(out.address) && !is_shown_on_loopback(options.text("shown-url")) && out.access.api_keys.empty()) {
        log_warning("listening on {} without an API key: anybody who reaches this machine can use it; set --api-key-file", out.address);
    }
    return out;
}

// Fetches and loads the model beside the running server.
class ModelLoader {
public:
    ModelLoader(const Options& options, server::Api& api) : thread_([this, &options, &api] { load(options, api); }) {}
    ~ModelLoader() {
        stop_ = true; // a download must not outlive the wish to stop
        thread_.join();
    }

    bool done() const { return done_; }
    const Status& status() const { return status_; } // once done
    const std::string& summary() const { return summary_; }

private:
    // The threads that compute come from this one and inherit its priority. Those that answer go first: what they do is short,
    // and whoever asks for /health beside 64 streams should not wait for a piece of a matrix.
    static void let_others_go_first() { static_cast<void>(setpriority(PRIO_PROCESS, 0, std::min(getpriority(PRIO_PROCESS, 0) + 5, 19))); }

    void load(const Options& options, server::Api& api) {
        let_others_go_first();
        status_ = try_load(options, api);
        if (!status_) api.set_failed(status_.error());
        done_ = true;
    }

    // The operator's own, then beside the model, then what is installed.
    static std::vector<std::filesystem::path> card_folders(const Options& options, const std::filesystem::path& model) {
        std::error_code error;
        const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
        return {options.path("model-cards-dir"), model.parent_path(), program.parent_path().parent_path() / "share/lucebox/model_cards"};
    }

    Status try_load(const Options& options, server::Api& api) {
        LUCEBOX_TRY(engine::Options engine_settings, engine_options(options, [this] { return !stop_; }));
        tune(engine_settings, options);
        std::error_code error;
        const auto bytes = static_cast<double>(std::filesystem::file_size(engine_settings.model, error));
        ProgressBar progress("loading", static_cast<std::uint64_t>(bytes));
        LUCEBOX_TRY(auto engine, engine::Engine::load(engine_settings, [&](double share) {
            api.set_progress(share);
            progress.update(static_cast<std::uint64_t>(share * bytes));
        }));
        progress.finish();
        const engine::ModelInfo& model = engine->model();
        summary_ = fmt::format("{} ({}, {}, context {}, {} at once) on {}", model.name, model.architecture, model.quantisation,
                               model.context, engine->options().sequences, engine->device_name());
        for (const engine::Choice& choice : model.choices) log_info("{}: {} ({})", choice.setting, choice.value, choice.why);
        std::istringstream table(engine->memory_table());
        for (std::string line; std::getline(table, line);) log_info("{}", line); // a log's line is one line
        if (!engine->chat_template()) log_warning("the model has no usable chat template: only /v1/completions will work");
        const auto folders = card_folders(options, engine_settings.model);
        LUCEBOX_TRY(auto card, server::find_model_card(model.name, folders));
        if (card) log_info("the model's card: {}", card->json.value("name", ""));
        api.set_ready(server::make_backend(std::move(engine)), std::move(card));
        return Ok{};
    }

    Status status_ = Ok{};
    std::string summary_;
    std::atomic<bool> done_ = false, stop_ = false;
    std::thread thread_;
};

void print_welcome(const std::string& url, const std::string& summary, bool needs_key) {
    const auto bold = wants_colours(1) ? fmt::text_style(fmt::emphasis::bold) : fmt::text_style{};
    fmt::print("lucebox {} serves {}\n", build_info().version, summary);
    fmt::print("  at   ");
    fmt::print(bold, "{}\n", url);
    fmt::print("  try  curl {}/v1/chat/completions {}-d '{{\"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'\n", url,
               needs_key ? "-H \"Authorization: Bearer $KEY\" " : "");
    fmt::print("  or   point any OpenAI client at {}/v1   (Ctrl-C stops)\n", url);
    std::fflush(stdout);
}

sigset_t stop_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    return signals;
}

// True: a signal asks to stop.
bool wait_for_signal(const sigset_t& signals, std::chrono::milliseconds timeout) {
    const timespec wait{timeout.count() / 1000, timeout.count() % 1000 * 1'000'000};
    return sigtimedwait(&signals, nullptr, &wait) > 0;
}

// Nothing that has to be kept is left once nobody is answered any more, so who still computes a long step, or loads a model, is waited
// for this long: docker kills after ten seconds, of which the drain may take eight.
constexpr unsigned seconds_to_end = 1;

// In a handler, because it must also come to pass where no thread gets its turn.
void leave(int) {
    constexpr std::string_view words = "stopped without waiting for what still computes\n";
    static_cast<void>(!::write(STDERR_FILENO, words.data(), words.size()));
    ::_exit(0);
}

void drain(server::Server& server, const sigset_t& signals, std::chrono::milliseconds deadline) {
    using namespace std::chrono_literals;
    log_info("stopping: {} requests may finish within {} s", server.counters().active, deadline.count() / 1000);
    server.stop_accepting();
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (!server.wait_until_idle(0ms) && std::chrono::steady_clock::now() < end) {
        if (wait_for_signal(signals, 50ms)) break;
    }
    std::signal(SIGALRM, leave);
    ::alarm(seconds_to_end);
    server.stop();
}

} // namespace

Status serve(const Invocation& invocation) {
    using namespace std::chrono_literals;
    const Options& options = invocation.options;
    // Threads inherit the mask, so that signals arrive here and nowhere else.
    const sigset_t signals = stop_signals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);

    LUCEBOX_TRY(server::ServerOptions settings, server_options(options));
    server::ApiOptions api_options;
    api_options.logs_prompts = options.boolean("log-prompts");
    if (api_options.logs_prompts) log_warning("prompts are logged in clear text, whoever sends them; --log-prompts=false leaves them out");
    api_options.needs_key = !settings.access.api_keys.empty();
    api_options.model_name = options.text("model-name");
    api_options.default_tokens = static_cast<std::size_t>(options.integer("default-max-tokens"));
    api_options.most_thinking = static_cast<std::size_t>(options.integer("think-max-tokens"));
    api_options.limits.volatile_lines = options.list("volatile-lines");
    api_options.body_bytes = settings.limits.body_bytes;
    const Environment environment = process_environment();
    api_options.build = build_info();
    if (const auto image = environment.find("DFLASH_IMAGE_INFO_PATH"); image != environment.end()) api_options.image_info = image->second;
    api_options.host_info = hub::host_info_path(environment);
    api_options.host_facts = hub::host_facts_json(environment, hub::utc_now());
    server::Api api(api_options);
    server::Router router;
    api.add_routes(router);
    settings.observe = api.observer();
    settings.format_error = server::error_in_dialect;
    server::Server server(std::move(settings), std::move(router));
    LUCEBOX_CHECK(server.bind());
    server.start();
    log_info("listening on {}", server.url());

    ModelLoader loader(options, api);
    bool welcomed = false;
    while (!wait_for_signal(signals, welcomed ? 3'600'000ms : 20ms)) {
        if (welcomed || !loader.done()) continue;
        if (!loader.status()) {
            server.stop();
            return loader.status();
        }
        print_welcome(options.is_set("shown-url") ? options.text("shown-url") : server.url(), loader.summary(), api_options.needs_key);
        welcomed = true;
    }
    drain(server, signals, options.duration("drain"));
    return Ok{};
}

} // namespace lucebox::app
