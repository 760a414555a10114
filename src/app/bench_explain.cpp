// What the families leave of the wall lies between steps: on the CPU the caller, on a GPU also sending the step's plan and
// fetching the token. It is shown as such, not spread over the families.
#include "app/bench_explain.h"

#include <fmt/format.h>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

struct FamilyTime {
    std::string_view name;
    double ms, share, bytes_per_second; // share: of the wall; no bytes: 0
};

struct TokenTime {
    double wall, sum; // ms
    std::vector<FamilyTime> families; // those that took any
};

TokenTime token_time(const Explanation& explanation) {
    const double per_token = 1e3 / static_cast<double>(explanation.tokens);
    TokenTime token{explanation.seconds * per_token, explanation.times.seconds() * per_token, {}};
    for (std::size_t i = 0; i < compute::kernel_family_names.size(); ++i) {
        const auto& family = explanation.times.families[i];
        if (family.seconds <= 0) continue;
        token.families.push_back({compute::kernel_family_names[i], family.seconds * per_token, family.seconds / explanation.seconds,
                                  static_cast<double>(family.weight_bytes) / family.seconds});
    }
    return token;
}

} // namespace

Json explanation_json(const Explanation& explanation, double plain) {
    const TokenTime token = token_time(explanation);
    Json families = Json::array();
    for (const FamilyTime& family : token.families) {
        Json entry{{"family", family.name}, {"ms", family.ms}, {"share", family.share}};
        if (family.bytes_per_second > 0) entry["weight_bytes_per_second"] = family.bytes_per_second;
        families.push_back(std::move(entry));
    }
    return {{"tokens", explanation.tokens},          {"plain_ms", plain},    {"wall_ms", token.wall}, {"sum_ms", token.sum},
            {"between_ms", token.wall - token.sum}, {"families", families}};
}

std::string explanation_table(const Explanation& explanation, double plain) {
    const TokenTime token = token_time(explanation);
    std::string text = fmt::format("a token takes {:.3f} ms, {:.3f} while it is looked at:\n", plain, token.wall);
    const auto line = [&](std::string_view name, double ms) {
        text += fmt::format("  {:<12}{:>9.3f} ms {:>6.1f} %", name, ms, 100 * ms / token.wall);
    };
    for (const FamilyTime& family : token.families) {
        line(family.name, family.ms);
        if (family.bytes_per_second > 0) text += fmt::format("  {:>7.1f} GB/s of weights", family.bytes_per_second / 1e9);
        text += '\n';
    }
    line("sum", token.sum);
    text += '\n';
    line("between", token.wall - token.sum);
    return text + '\n';
}

} // namespace lucebox::app
