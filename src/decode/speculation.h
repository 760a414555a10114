// What a caller asks of speculation, and what it tells back.
#pragma once

#include "base/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lucebox::decode {

struct Speculation {
    enum class Mode {
        off,
        chain,     // one path of up to `budget` guesses
        tree,      // a tree of up to `budget` guesses
        automatic, // each step the shape that promises the most tokens a second, plain steps included
    };
    Mode mode = Mode::off;
    std::size_t budget = 0;

    std::string name() const; // as parse_speculation() takes it
};

// "off", "auto", "chain:K" or "tree:B" with 1 to 63 guesses.
Result<Speculation> parse_speculation(std::string_view text);

struct SpeculationStats {
    static constexpr std::size_t positions = 16; // deeper ones are counted with the last

    std::uint64_t steps = 0;    // that verified at least one token of a sequence
    std::uint64_t drafted = 0;  // guesses in them
    std::uint64_t accepted = 0; // that became text
    std::uint64_t accepted_from_lookup = 0;
    std::uint64_t tokens = 0;   // that the steps gave: accepted ones, and the target's own behind them
    // By depth, from 1: how often there were guesses behind an accepted path, and how often one of them was right.
    std::array<std::uint64_t, positions> tried_at{}, accepted_at{};

    void add(const SpeculationStats& other);
};

} // namespace lucebox::decode
