// Measures candidate configurations with real servers, one after the other, and says which decodes fastest.
//
// Each candidate is a `lucebox serve` of its own on a free loopback port, started with the user's settings and the
// candidate's on top, and asked over HTTP as a client would. The configuration file is only read: whatever happens in the
// middle, it is what it was. Servers end with this process, also when it is killed.
#pragma once

#include "base/options.h"
#include "base/result.h"
#include "hub/tiers.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lucebox::app {

using Candidate = std::vector<std::pair<std::string, std::string>>; // options of `serve` and their values
std::string name_of(const Candidate& candidate);                    // "speculation=tree:16", settings joined by +
Result<std::vector<Candidate>> parse_candidates(const std::vector<std::string>& names);
// What is worth trying on a card of this plan, with a draft or without one.
std::vector<Candidate> candidates_for(const hub::Plan& plan, bool has_draft);

struct Measured {
    Candidate candidate;
    double median = 0, low = 0, high = 0; // tokens a second of decoding, over the repeats
    std::size_t tokens = 0;               // of one repeat
    std::optional<std::int64_t> sm_clock_mhz, memory_clock_mhz; // of the first GPU at the end; none: unknown
    std::string problem;                  // why there is no figure; empty: there is one
};

struct SweepSettings {
    std::vector<std::string> arguments; // of `serve`, for every candidate
    std::string key;                    // that the user's settings make a server ask for; empty: none
    int repeats = 3;
    std::size_t prompts = 3, tokens = 64; // of each prompt's answer, at most
    std::size_t prompt_lines = 0;         // not 0: one prompt with a text of so many lines instead, which fills caches
    std::function<bool()> keep_going;     // false: stop with ErrorKind::cancelled
    std::function<void(const std::string&)> say;
};

Result<std::vector<Measured>> sweep(const std::vector<Candidate>& candidates, const SweepSettings& settings);

// The fastest; of equals the earlier. Null: none could be measured.
const Measured* fastest(const std::vector<Measured>& measured);

} // namespace lucebox::app
