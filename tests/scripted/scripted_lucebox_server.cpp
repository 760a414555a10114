// TESTS ONLY: the server, with answers from a script; see scripted_backend.h.
//
//   scripted_lucebox_server SCRIPT TOKENIZER.gguf TEMPLATE.jinja [--port N] [--key K] [--context N]
//       [--sequences N] [--queue N] [--heartbeat MS] [--prompts FILE]
//
// Listens on 127.0.0.1, says where on standard output, ends at SIGTERM or SIGINT.
#include "scripted_backend.h"
#include "tiny_model.h"

#include "base/file.h"
#include "base/log.h"
#include "server/api/api.h"
#include "server/api/error.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <sys/prctl.h>
#include <unistd.h>

namespace lucebox::scripted {
namespace {

struct Settings {
    std::vector<std::string> files;
    std::map<std::string, std::string> values;
    std::string value(const std::string& name, std::string otherwise) const {
        const auto at = values.find(name);
        return at == values.end() ? std::move(otherwise) : at->second;
    }
    std::size_t number(const std::string& name, std::size_t otherwise) const {
        const auto at = values.find(name);
        return at == values.end() ? otherwise : std::strtoull(at->second.c_str(), nullptr, 10);
    }
};

Settings read(int count, char** words) {
    Settings settings;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word.starts_with("--") && i + 1 < count) settings.values[word.substr(2)] = words[++i];
        else settings.files.push_back(word);
    }
    return settings;
}

Result<std::shared_ptr<server::Backend>> load(const Settings& settings) {
    TinyModel tiny;
    tiny.tokenizer = settings.files[1];
    LUCEBOX_TRY(tiny.chat_template, read_text_file(settings.files[2], 1u << 20));
    std::string folder = (std::filesystem::temp_directory_path() / "scripted-lucebox-XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) return Error{ErrorKind::io, "no temporary folder can be made"};
    engine::Options options;
    options.model = std::filesystem::path(folder) / "scripted.gguf";
    options.context = settings.number("context", tiny.context);
    options.sequences = settings.number("sequences", 4);
    options.queue = settings.number("queue", 64);
    options.device.threads = 2;
    auto written = write_tiny_model(tiny, options.model);
    auto engine = written ? engine::Engine::load(options) : Result<std::unique_ptr<engine::Engine>>(written.error());
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored); // mapped by now
    if (!engine) return engine.error();
    return make_scripted_backend(server::make_backend(std::move(*engine)), settings.files[0], settings.value("prompts", ""));
}

Status serve(const Settings& settings) {
    if (settings.files.size() != 3) return Error{ErrorKind::usage, "scripted_lucebox_server SCRIPT TOKENIZER.gguf TEMPLATE.jinja [--port N] [--key K]"};
    sigset_t signals;
    sigemptyset(&signals);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    server::ServerOptions options;
    options.port = static_cast<std::uint16_t>(settings.number("port", 0));
    if (settings.values.contains("key")) options.access.api_keys = {settings.value("key", "")};
    server::ApiOptions api_options;
    api_options.heartbeat = std::chrono::milliseconds(settings.number("heartbeat", 8000));
    server::Api api(api_options);
    server::Router router;
    api.add_routes(router);
    options.observe = api.observer();
    options.format_error = server::error_in_dialect;
    LUCEBOX_TRY(auto backend, load(settings));
    server::Server server(std::move(options), std::move(router));
    LUCEBOX_CHECK(server.bind());
    server.start();
    api.set_ready(std::move(backend));
    fmt::print("scripted answers (tests only)\n  at   {}\n", server.url());
    std::fflush(stdout);
    int number = 0;
    sigwait(&signals, &number);
    server.stop();
    return Ok{};
}

} // namespace
} // namespace lucebox::scripted

int main(int count, char** words) {
    using namespace lucebox;
    prctl(PR_SET_PDEATHSIG, SIGTERM); // a test that dies leaves nothing behind
    configure_log(LogLevel::info, LogFormat::text);
    const Status status = scripted::serve(scripted::read(count, words));
    if (status) return EXIT_SUCCESS;
    fmt::print(stderr, "error: {}\n", status.error().message);
    return EXIT_FAILURE;
}
