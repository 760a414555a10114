#include "app/bench_tasks.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>

namespace lucebox::app {
namespace {

constexpr std::string_view passage =
    "The lighthouse of Kap Arn stood empty for eleven years before Marta Lind bought it. She was a retired ship's cook, and "
    "she wanted a kitchen with a view. In the first winter the wind tore off two shutters and the stairs froze over, but "
    "Marta stayed. By spring she had opened a small restaurant with six tables. Guests came by boat from the harbour of "
    "Sund, twelve kilometres away, and many of them asked for her fish soup. In June a newspaper wrote about the place, and "
    "from then on every table was taken until October.";

constexpr std::string_view program = R"(def read_scores(path):
    scores = {}
    with open(path) as file:
        for line in file:
            name, value = line.strip().split(",")
            scores[name] = int(value)
    return scores


def best_name(scores):
    best = None
    for name in scores:
        if best is None or scores[name] > scores[best]:
            best = name
    return best


def average(scores):
    total = 0
    for name in scores:
        total += scores[name]
    return total / len(scores)


def report(path):
    scores = read_scores(path)
    print("best:", best_name(scores))
    print("average:", average(scores))
    for name in sorted(scores):
        print(name, scores[name])
)";

} // namespace

std::vector<BenchTask> bench_tasks() {
    const auto about = [](std::string_view text, std::string_view request) { return fmt::format("{}\n\n{}", request, text); };
    return {
        {"question", "Why does the moon always show us the same side?", 192},
        {"story", "Write a short story about a dog that learns to sail.", 256},
        {"list", "List twelve things to take on a mountain hike, each with one sentence why.", 256},
        {"explanation", "Explain to a ten year old how a battery works.", 192},
        {"code", "Write a Python function that merges two sorted lists, with comments.", 256},
        {"code review", about(program, "Explain what each function of this program does."), 256},
        {"maths", "A train leaves at 9:40 and travels 210 km at 84 km per hour. When does it arrive? Explain step by step.", 192},
        {"summary", about(passage, "Summarize this text in two sentences."), 128},
        {"extraction", about(passage, "Write every name, place and number of this text as a JSON object."), 160},
        {"letter", "Write a formal letter to a landlord about a broken heater.", 256},
        {"quoting", about(passage, "Repeat the following text exactly, then say what it is about."), 224},
        {"rewriting", about(program, "Write this program again, with the variable scores renamed to points."), 320},
    };
}

BenchTask rewrite_task(std::size_t lines) {
    constexpr std::array names{"total", "cost", "size", "price", "count", "left"};
    constexpr std::array operators{"=", "+=", "-=", "*="};
    std::string file;
    std::uint32_t state = 12345; // a linear congruential generator: the same file everywhere
    const auto next = [&](std::size_t choices) {
        state = state * 1664525u + 1013904223u;
        return (state >> 16) % choices;
    };
    for (std::size_t i = 0; i < lines; ++i) {
        const auto a = next(names.size()), b = next(names.size()), op = next(operators.size());
        file += fmt::format("{} {} {}\n", names[a], operators[op], names[b]);
    }
    return {fmt::format("rewrite {} lines", lines),
            fmt::format("Write this file again, with the variable cost renamed to fee. Change nothing else.\n\n```\n{}```", file), 5 * lines};
}

} // namespace lucebox::app
