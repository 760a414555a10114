#include "app/serving/sweep.h"

#include "app/bench_measure.h"
#include "app/bench_tasks.h"
#include "app/serving/server_client.h"
#include "hub/gpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace lucebox::app {
namespace {

using namespace std::chrono_literals;

constexpr auto poll_interval = 50ms;
constexpr auto load_timeout = 15min; // a large model from a slow disk
constexpr auto answer_timeout = 5min;
constexpr auto stop_timeout = 15s;   // a drain takes 8
constexpr std::size_t most_log_bytes = 1 << 20;

Error stopped() { return {ErrorKind::cancelled, "the sweep was stopped; the configuration is as it was"}; }

// A server that ends with this object, and with this process.
class ChildServer {
public:
    ChildServer(const Candidate& candidate, const SweepSettings& settings) : settings_(settings) {
        log_ = ::memfd_create("lucebox-sweep", MFD_CLOEXEC); // nothing of it is left on a disk, whatever happens
        std::vector<std::string> words{"lucebox", "serve", "--host", "127.0.0.1", "--port", "0", "--log-level", "info", "--log-format", "text"};
        words.insert(words.end(), settings.arguments.begin(), settings.arguments.end());
        for (const auto& [name, value] : candidate) words.insert(words.end(), {"--" + name, value});
        if (log_ >= 0) start(words);
    }
    ChildServer(const ChildServer&) = delete;
    ChildServer& operator=(const ChildServer&) = delete;
    ~ChildServer() {
        if (process_ > 0 && !ended()) {
            ::kill(process_, SIGTERM);
            const auto end = Clock::now() + stop_timeout;
            while (!ended() && Clock::now() < end) std::this_thread::sleep_for(poll_interval);
            if (!ended()) {
                ::kill(process_, SIGKILL);
                ::waitpid(process_, nullptr, 0);
            }
        }
        if (log_ >= 0) ::close(log_);
    }

    // Once it is ready to answer.
    Result<ServerClient> client() {
        const auto end = Clock::now() + load_timeout;
        std::string url;
        while (Clock::now() < end) {
            if (settings_.keep_going && !settings_.keep_going()) return stopped();
            if (ended()) return Error{ErrorKind::unavailable, fmt::format("the server ended: {}", last_words())};
            if (url.empty()) url = address();
            if (!url.empty()) {
                const ServerClient client = ServerClient::at(url, settings_.key, 5s);
                if (const auto reply = client.ask("/ready"); reply && reply->status == 200) return ServerClient::at(url, settings_.key, answer_timeout);
            }
            std::this_thread::sleep_for(poll_interval);
        }
        return Error{ErrorKind::unavailable, "the server was not ready in time"};
    }

private:
    void start(std::vector<std::string>& words) {
        std::vector<char*> arguments;
        arguments.reserve(words.size() + 1);
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        const pid_t parent = ::getpid();
        process_ = ::fork();
        if (process_ != 0) return;
        // Nothing but calls that are safe behind a fork.
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (::getppid() != parent) ::_exit(1);
        ::setpgid(0, 0); // Ctrl-C is this program's to answer
        ::dup2(log_, 1);
        ::dup2(log_, 2);
        ::execv("/proc/self/exe", arguments.data());
        ::_exit(127);
    }

    bool ended() {
        if (process_ <= 0 || ended_) return true;
        ended_ = ::waitpid(process_, nullptr, WNOHANG) == process_;
        return ended_;
    }

    std::string log() const {
        std::string text(most_log_bytes, '\0');
        const auto count = ::pread(log_, text.data(), text.size(), 0);
        text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
        return text;
    }

    std::string address() const {
        const std::string text = log();
        constexpr std::string_view sign = "listening on http://127.0.0.1:";
        const auto at = text.find(sign);
        if (at == std::string::npos) return "";
        const auto begin = at + sign.size(), end = text.find_first_not_of("0123456789", begin);
        return end == std::string::npos ? "" : "http://127.0.0.1:" + text.substr(begin, end - begin);
    }

    std::string last_words() const {
        std::string text = log();
        if (const auto error = text.rfind("error:"); error != std::string::npos) text = text.substr(error);
        while (text.ends_with('\n')) text.pop_back();
        std::ranges::replace(text, '\n', ' ');
        return text.empty() ? "it said nothing" : text.substr(0, 500);
    }

    const SweepSettings& settings_;
    int log_ = -1;
    pid_t process_ = -1;
    bool ended_ = false;
};

struct Decoded {
    std::size_t tokens = 0;
    double seconds = 0;
};

// The server's own figures: from the first token to the last, without reading the prompt.
Result<Decoded> decode(const ServerClient& client, const BenchTask& task, std::size_t tokens) {
    const nlohmann::json body{{"messages", {{{"role", "user"}, {"content", task.prompt}}}}, {"max_tokens", tokens}, {"temperature", 0}};
    LUCEBOX_TRY(const Reply reply, client.ask("/v1/chat/completions", body));
    const auto json = nlohmann::json::parse(reply.body, nullptr, false);
    if (reply.status != 200 || !json.is_object()) return Error{ErrorKind::unavailable, fmt::format("the server answered {}: {}", reply.status, reply.body.substr(0, 200))};
    const auto timings = json.value("timings", nlohmann::json::object());
    const Decoded decoded{timings.value("predicted_n", std::size_t{0}), timings.value("predicted_ms", 0.0) / 1000};
    if (decoded.tokens == 0 || decoded.seconds <= 0) return Error{ErrorKind::unavailable, "the server gave no timings"};
    return decoded;
}

Result<Measured> measure(const Candidate& candidate, const SweepSettings& settings) {
    ChildServer server(candidate, settings);
    LUCEBOX_TRY(const ServerClient client, server.client());
    std::vector<BenchTask> tasks = bench_tasks();
    tasks.resize(std::min(tasks.size(), settings.prompts));
    if (settings.prompt_lines != 0) tasks = {rewrite_task(settings.prompt_lines)};
    Measured measured;
    measured.candidate = candidate;
    std::vector<double> rates;
    for (int repeat = -1; repeat < settings.repeats; ++repeat) { // -1: warms up, and does not count
        Decoded sum;
        for (const BenchTask& task : tasks) {
            if (settings.keep_going && !settings.keep_going()) return stopped();
            LUCEBOX_TRY(const Decoded decoded, decode(client, task, settings.tokens));
            sum.tokens += decoded.tokens;
            sum.seconds += decoded.seconds;
        }
        if (repeat < 0) continue;
        rates.push_back(static_cast<double>(sum.tokens) / sum.seconds);
        measured.tokens = sum.tokens;
    }
    // While it is still warm: what a card's clocks were tells a slow setting from a hot card.
    if (const hub::GpuList seen = hub::find_gpus(); !seen.gpus.empty()) {
        measured.sm_clock_mhz = seen.gpus.front().sm_clock_mhz;
        measured.memory_clock_mhz = seen.gpus.front().memory_clock_mhz;
    }
    const Spread spread(std::move(rates));
    measured.median = spread.median;
    measured.low = spread.low;
    measured.high = spread.high;
    return measured;
}

} // namespace

std::string name_of(const Candidate& candidate) {
    std::string name;
    for (const auto& [key, value] : candidate) name += fmt::format("{}{}={}", name.empty() ? "" : "+", key, value);
    return name;
}

Result<std::vector<Candidate>> parse_candidates(const std::vector<std::string>& names) {
    std::vector<Candidate> candidates;
    for (const std::string& name : names) {
        Candidate candidate;
        for (std::string_view rest = name; !rest.empty();) {
            const auto end = rest.find('+');
            const std::string_view setting = rest.substr(0, end);
            const auto equals = setting.find('=');
            if (equals == 0 || equals == std::string_view::npos) {
                return Error{ErrorKind::usage, fmt::format("--candidates: '{}' is no NAME=VALUE", setting), "--candidates speculation=off,speculation=tree:16+context=8192"};
            }
            candidate.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
            rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
        }
        candidates.push_back(std::move(candidate));
    }
    return candidates;
}

std::vector<Candidate> candidates_for(const hub::Plan& plan, bool has_draft) {
    std::vector<Candidate> candidates{{{"speculation", "auto"}}, {{"speculation", "off"}}};
    if (!has_draft) return candidates; // lookup alone has chains, which auto judges well
    for (const int budget : hub::tier_of(plan.gb).sweep_budgets) {
        if (budget != 0) candidates.push_back({{"speculation", fmt::format("tree:{}", budget)}});
    }
    return candidates;
}

Result<std::vector<Measured>> sweep(const std::vector<Candidate>& candidates, const SweepSettings& settings) {
    std::vector<Measured> all;
    for (const Candidate& candidate : candidates) {
        if (settings.say) settings.say(fmt::format("measuring {} ({} of {})", name_of(candidate), all.size() + 1, candidates.size()));
        auto measured = measure(candidate, settings);
        if (!measured && measured.error().kind == ErrorKind::cancelled) return measured.error();
        if (!measured) {
            Measured failed;
            failed.candidate = candidate;
            failed.problem = measured.error().message;
            all.push_back(std::move(failed));
        } else {
            all.push_back(std::move(*measured));
        }
        const Measured& last = all.back();
        if (settings.say) settings.say(last.problem.empty() ? fmt::format("  {:.1f} tok/s ({:.1f} to {:.1f})", last.median, last.low, last.high) : "  " + last.problem);
    }
    return all;
}

const Measured* fastest(const std::vector<Measured>& measured) {
    const Measured* best = nullptr;
    for (const Measured& each : measured) {
        if (each.problem.empty() && (best == nullptr || each.median > best->median)) best = &each;
    }
    return best;
}

} // namespace lucebox::app
