#include "decode/speculation.h"

#include "decode/draft_tree.h"

#include <fmt/format.h>

#include <charconv>

namespace lucebox::decode {

std::string Speculation::name() const {
    switch (mode) {
    case Mode::chain: return fmt::format("chain:{}", budget);
    case Mode::tree: return fmt::format("tree:{}", budget);
    case Mode::automatic: return "auto";
    default: return "off";
    }
}

Result<Speculation> parse_speculation(std::string_view text) {
    using Mode = Speculation::Mode;
    if (text == "off") return Speculation{};
    if (text == "auto") return Speculation{Mode::automatic, most_draft_nodes};
    const std::size_t colon = text.find(':');
    const std::string_view kind = text.substr(0, colon);
    if (colon != std::string_view::npos && (kind == "chain" || kind == "tree")) {
        std::size_t budget = 0;
        const auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), budget);
        if (error == std::errc{} && end == text.data() + text.size() && budget >= 1 && budget <= most_draft_nodes) {
            return Speculation{kind == "chain" ? Mode::chain : Mode::tree, budget};
        }
    }
    return Error{ErrorKind::usage, fmt::format("speculation '{}' is none of off, auto, chain:K, tree:B", text),
                 fmt::format("K and B are from 1 to {}", most_draft_nodes)};
}

void SpeculationStats::add(const SpeculationStats& other) {
    steps += other.steps;
    drafted += other.drafted;
    accepted += other.accepted;
    accepted_from_lookup += other.accepted_from_lookup;
    tokens += other.tokens;
    for (std::size_t i = 0; i < positions; ++i) {
        tried_at[i] += other.tried_at[i];
        accepted_at[i] += other.accepted_at[i];
    }
}

} // namespace lucebox::decode
