// lucebox top: what the running server does, drawn anew every second.
#include "app/commands.h"
#include "app/serving/server_client.h"
#include "base/terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <deque>
#include <thread>

namespace lucebox::app {
namespace {

using Json = nlohmann::json;

double number(const Json& json, const char* group, const char* name) {
    const auto at = json.find(group);
    if (at == json.end() || !at->is_object() || !at->contains(name) || !(*at)[name].is_number()) return 0;
    return (*at)[name].get<double>();
}

std::string text(const Json& json, const char* group, const char* name) {
    const auto at = json.find(group);
    return at != json.end() && at->is_object() && at->contains(name) && (*at)[name].is_string() ? (*at)[name].get<std::string>() : "";
}

std::string bar(double share, std::size_t width) {
    const auto full = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width) + 0.5);
    std::string line;
    for (std::size_t i = 0; i < width; ++i) line += i < full ? "█" : "░";
    return line;
}

std::string plot(const std::deque<double>& values) {
    constexpr std::array steps{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const double most = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
    std::string line;
    for (const double value : values) line += value <= 0 || most <= 0 ? " " : steps[static_cast<std::size_t>(value / most * 7.49)];
    return line;
}

class Screen {
public:
    explicit Screen(const ServerClient& client) : url_(client.url()) {}

    // Everything that is shown of one look at the server.
    std::string show(const Json& now) {
        const auto when = std::chrono::steady_clock::now();
        const double seconds = std::chrono::duration<double>(when - before_at_).count();
        const auto rate = [&](const char* name) {
            return before_.is_null() || seconds <= 0 ? 0.0 : std::max(0.0, (number(now, "stats", name) - number(before_, "stats", name)) / seconds);
        };
        const double generated = rate("generated_tokens"), read = rate("prompt_tokens"), steps = rate("steps");
        if (!before_.is_null()) {
            generated_.push_back(generated);
            if (generated_.size() > 60) generated_.pop_front();
        }
        const auto uptime = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * now.value("uptime_s", 0.0)));
        std::string lines = fmt::format("{}  {}  up {}\n", url_, now.value("phase", "?"), human_duration(uptime));
        lines += fmt::format("{} ({}, {}) on {}\n\n", text(now, "model", "name"), text(now, "model", "architecture"), text(now, "model", "quantisation"), text(now, "model", "device"));
        lines += fmt::format("generated {:8.1f} tokens/s   {}\n", generated, plot(generated_));
        lines += fmt::format("read      {:8.1f} tokens/s   {:.1f} steps/s\n", read, steps);
        if (const double tried = difference(now, "steps"); tried > 0)
            lines += fmt::format("guesses   {:8.2f} tokens a step, {:.0f} % of them right\n", difference(now, "tokens") / tried, 100 * difference(now, "accepted") / std::max(1.0, difference(now, "drafted")));
        const double sequences = std::max(1.0, now.value("sequences", 1.0)), context = std::max(1.0, number(now, "model", "context"));
        const double running = number(now, "stats", "running"), kept = number(now, "stats", "kv_tokens");
        lines += fmt::format("running   {:8} of {:<9}   {}  {} waiting\n", running, sequences, bar(running / sequences, 20), number(now, "stats", "waiting"));
        lines += fmt::format("context   {:8} tokens      {}\n", kept, bar(kept / (context * sequences), 20));
        lines += fmt::format("requests  {:8} finished, {} cancelled, {} failed, {} refused\n", number(now, "stats", "requests_finished"), number(now, "stats", "requests_cancelled"),
                             number(now, "stats", "requests_failed"), number(now, "stats", "requests_refused"));
        const double hits = number(now, "stats", "prefix_hits"), asked = hits + number(now, "stats", "prefix_misses");
        lines += fmt::format("prefixes  {:8} of {} reused, {} tokens not read again\n", hits, asked, number(now, "stats", "prefix_tokens"));
        double memory = 0;
        for (const char* part : {"weights", "kv", "recurrent", "scratch"}) memory += number(now, "memory", part);
        lines += fmt::format("memory    {:>8} of which {} weights, {} KV\n", human_bytes(static_cast<std::uint64_t>(memory)),
                             human_bytes(static_cast<std::uint64_t>(number(now, "memory", "weights"))), human_bytes(static_cast<std::uint64_t>(number(now, "memory", "kv"))));
        for (const Json& prompt : now.value("prompts", Json::array())) {
            const double total = std::max(1.0, prompt.value("total", 1.0)), done = prompt.value("processed", 0.0);
            lines += fmt::format("prompt    {:8} of {:<9}   {}\n", done, total, bar(done / total, 20));
        }
        before_ = now;
        before_at_ = when;
        return lines;
    }

private:
    // Of what was guessed, since the last look.
    double difference(const Json& now, const char* name) const { return before_.is_null() ? 0 : number(now, "speculation", name) - number(before_, "speculation", name); }

    const std::string url_;
    Json before_;
    std::chrono::steady_clock::time_point before_at_{};
    std::deque<double> generated_;
};

} // namespace

Status top(const Invocation& invocation) {
    LUCEBOX_TRY(const ServerClient client, ServerClient::of(invocation.options));
    const bool once = invocation.options.boolean("once"), redraws = !once && is_terminal(1);
    Screen screen(client);
    for (;;) {
        LUCEBOX_TRY(const Reply reply, client.ask("/status/json"));
        const Json now = Json::parse(reply.body, nullptr, false);
        if (reply.status != 200 || !now.is_object()) {
            return Error{ErrorKind::unavailable, fmt::format("{} answers with status {}", client.url(), reply.status), reply.status == 401 ? "--api-key-file, or LUCEBOX_API_KEYS" : "is it a Lucebox server?"};
        }
        fmt::print("{}{}{}", redraws ? "\x1b[H\x1b[J" : "", screen.show(now), redraws || once ? "" : "\n");
        std::fflush(stdout);
        if (once) return Ok{};
        std::this_thread::sleep_for(invocation.options.duration("interval"));
    }
}

} // namespace lucebox::app
