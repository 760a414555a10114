// What a hostile chat template costs before it is refused, and what an honest one takes. The promise is 50 ms.
#include "../tests/text/hostile_templates.h"
#include "base/cpu_time.h"
#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace lucebox::text {
namespace {

double thread_ms() { return std::chrono::duration<double, std::milli>(thread_cpu_time()).count(); }

Json conversation() {
    Json messages = Json::array();
    for (int i = 0; i < 100; ++i) messages.push_back({{"role", i % 2 ? "assistant" : "user"}, {"content", std::string(400, 'a')}});
    return {{"messages", messages}, {"add_generation_prompt", true}};
}

int run() {
    constexpr int repetitions = 5;
    const Json variables = conversation();
    double worst = 0;
    fmt::print("{:<42} {:>10} {:>8} {:>12}  refused because\n", "template", "median ms", "worst", "steps only");
    for (const HostileTemplate& hostile : hostile_templates) {
        std::vector<double> times, unlimited;
        std::string reason = "NOT REFUSED";
        TemplateBudget steps_only;
        steps_only.time = std::chrono::hours(1);
        for (int i = 0; i < repetitions; ++i) {
            double start = thread_ms();
            const auto parsed = ChatTemplate::parse(hostile.source);
            const auto text = parsed ? parsed->render(variables) : Result<std::string>(parsed.error());
            times.push_back(thread_ms() - start);
            if (!text) reason = text.error().message;
            start = thread_ms();
            if (parsed) (void)parsed->render(variables, steps_only);
            unlimited.push_back(thread_ms() - start);
        }
        std::ranges::sort(times);
        std::ranges::sort(unlimited);
        worst = std::max(worst, times.back());
        fmt::print("{:<42} {:>10.2f} {:>8.2f} {:>12.2f}  {}\n", hostile.name, times[repetitions / 2], times.back(), unlimited[repetitions / 2], reason);
    }
    fmt::print("\nworst of all {} runs: {:.1f} ms of CPU time\n", repetitions * hostile_templates.size(), worst);
    return worst <= 50 ? 0 : 1;
}

} // namespace
} // namespace lucebox::text

int main() { return lucebox::text::run(); }
