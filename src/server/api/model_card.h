// What is known of a model beside its file: how its makers sample it, and how long it may think and answer.
//
// A card is a JSON file named as the model, found beside the model's file or in a folder of cards; some are built in. A
// model without a card gets what its family has. See docs/api.md, "Model cards".
#pragma once

#include "decode/sampler.h"
#include "server/api/json.h"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lucebox::server {

// Tokens. The tiers are what a request that names an effort may think.
struct Budgets {
    std::string source = "fallback"; // "card" or "family": who says so
    std::size_t answer = 16'000;     // thought and reply together
    std::size_t reply = 4096;        // kept for the reply
    std::size_t thinking = 0;        // the longest thought
    std::size_t low = 0, medium = 0, high = 0, x_high = 0, most = 0;

    std::size_t tier(std::string_view effort) const; // "low", ..., "xhigh", "max"; anything else: high
    Json json() const;                                // as /props shows them
    void limit_thinking(std::size_t most);            // of every effort
};

struct ModelCard {
    Json json;                       // as it is written
    Budgets budgets;
    decode::SamplingParams sampling; // what the card does not name is as without a card
    std::string closing;             // words that end a thought; empty: the family's
};

// "Qwen3.6 27B_x" -> "qwen3.6-27b-x.json"
std::string model_card_file_name(std::string_view model_name);
// `defaults`: what the card changes. An error names the key at fault.
Result<ModelCard> parse_model_card(std::string_view text, const decode::SamplingParams& defaults = {});
// The first card in these folders, else the one that is built in, else none. A card that cannot be read is an error.
Result<std::optional<ModelCard>> find_model_card(std::string_view model_name, std::span<const std::filesystem::path> folders,
                                                 const decode::SamplingParams& defaults = {});

Budgets family_budgets(std::string_view architecture);

struct BuiltInCard {
    std::string_view file_name, text;
};
std::span<const BuiltInCard> built_in_cards(); // models/cards

} // namespace lucebox::server
