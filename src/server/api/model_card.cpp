#include "server/api/model_card.h"

#include "base/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace lucebox::server {
namespace {

constexpr std::size_t most_card_bytes = 1u << 20;
constexpr std::int64_t most_tokens = 1 << 30;

// From the longest thought; `beyond`: that of hard problems, if there is such a thing. Each tier is at least the one before.
void derive_tiers(Budgets& budgets, std::optional<std::size_t> beyond) {
    budgets.low = budgets.thinking / 8;
    budgets.medium = budgets.thinking / 2;
    budgets.high = budgets.thinking;
    budgets.most = std::max(beyond.value_or(budgets.high), budgets.high);
    budgets.x_high = (budgets.high + budgets.most) / 2;
}

void make_monotone(Budgets& budgets) {
    std::size_t before = 0;
    for (std::size_t* tier : {&budgets.low, &budgets.medium, &budgets.high, &budgets.x_high, &budgets.most}) {
        *tier = std::max(*tier, before);
        before = *tier;
    }
}

Budgets with_answer(std::string source, std::size_t answer, std::size_t reply) {
    Budgets budgets;
    budgets.source = std::move(source);
    budgets.answer = answer;
    budgets.reply = std::min(reply, answer / 2); // a card of short answers still leaves room to think
    budgets.thinking = answer - budgets.reply;
    derive_tiers(budgets, std::nullopt);
    return budgets;
}

void read_budgets(Fields& fields, ModelCard& card) {
    const auto tokens = [&](Fields& from, std::string_view name, std::int64_t least) {
        const auto value = from.integer(name, least, most_tokens);
        return value ? std::optional(static_cast<std::size_t>(*value)) : std::nullopt;
    };
    const auto answer = tokens(fields, "max_tokens", 1);
    if (!answer) fields.refuse("max_tokens", "max_tokens is missing");
    card.budgets = with_answer("card", answer.value_or(1), tokens(fields, "hard_limit_reply_budget", 256).value_or(4096));
    if (const auto beyond = tokens(fields, "complex_problem_max_tokens", 1)) derive_tiers(card.budgets, *beyond - std::min(*beyond, card.budgets.reply));
    if (const Json* tiers = fields.object("reasoning_effort_tiers")) {
        Fields inner(*tiers, "reasoning_effort_tiers.");
        Budgets& budgets = card.budgets;
        for (const auto& [name, tier] : {std::pair<const char*, std::size_t*>{"low", &budgets.low}, {"medium", &budgets.medium}, {"high", &budgets.high}, {"x-high", &budgets.x_high}, {"max", &budgets.most}})
            if (const auto value = tokens(inner, name, 0)) *tier = *value;
        if (inner.error()) fields.fail(*inner.error());
    }
    make_monotone(card.budgets);
}

void read_sampling(Fields& fields, decode::SamplingParams& sampling) {
    const Json* given = fields.object("sampling");
    if (given == nullptr) return;
    Fields inner(*given, "sampling.");
    const auto set = [&](float& field, std::string_view name, double low, double high) {
        if (const auto value = inner.number(name, low, high)) field = static_cast<float>(*value);
    };
    set(sampling.temperature, "temperature", 0, 100);
    set(sampling.top_p, "top_p", 0, 1);
    set(sampling.min_p, "min_p", 0, 1);
    set(sampling.presence_penalty, "presence_penalty", -2, 2);
    set(sampling.repetition_penalty, "repetition_penalty", 0.01, 100);
    if (const auto k = inner.integer("top_k", 0, INT32_MAX)) sampling.top_k = static_cast<std::int32_t>(*k);
    if (inner.error()) fields.fail(*inner.error());
}

} // namespace

std::size_t Budgets::tier(std::string_view effort) const {
    return effort == "low" ? low : effort == "medium" ? medium : effort == "xhigh" ? x_high : effort == "max" ? most : high;
}

Json Budgets::json() const {
    return {{"model_card_source", source},
            {"default_max_tokens", answer},
            {"hard_limit_reply_budget", reply},
            {"think_max_tokens", thinking},
            {"effort_tiers", {{"low", low}, {"medium", medium}, {"high", high}, {"x-high", x_high}, {"max", most}}}};
}

void Budgets::limit_thinking(std::size_t limit) {
    for (std::size_t* each : {&thinking, &low, &medium, &high, &x_high, &most}) *each = std::min(*each, limit);
}

std::string model_card_file_name(std::string_view model_name) {
    std::string name;
    for (char c : model_name) {
        if (c == ' ' || c == '\t' || c == '_') c = '-';
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
        if (plain) name += c;
    }
    return name + ".json";
}

Result<ModelCard> parse_model_card(std::string_view text, const decode::SamplingParams& defaults) {
    auto json = parse_json(text);
    if (const auto* error = std::get_if<ApiError>(&json)) return Error{ErrorKind::invalid_data, error->message};
    ModelCard card;
    card.json = std::move(std::get<Json>(json));
    card.sampling = defaults;
    Fields fields(card.json);
    for (const char* name : {"name", "source", "verified_at"})
        if (!fields.string(name)) fields.refuse(name, fmt::format("{} is missing", name));
    read_budgets(fields, card);
    read_sampling(fields, card.sampling);
    card.closing = fields.string("thinking_terminator_hint").value_or(fields.string("thinking_marker").value_or(""));
    if (fields.error()) return Error{ErrorKind::invalid_data, fields.error()->message};
    return card;
}

Result<std::optional<ModelCard>> find_model_card(std::string_view model_name, std::span<const std::filesystem::path> folders,
                                                 const decode::SamplingParams& defaults) {
    const std::string file_name = model_card_file_name(model_name);
    const auto parsed = [&](const std::string& where, std::string_view text) -> Result<std::optional<ModelCard>> {
        auto card = parse_model_card(text, defaults);
        if (!card) return Error{card.error().kind, fmt::format("{}: {}", where, card.error().message), "correct the card, or take it away"};
        return std::optional(std::move(*card));
    };
    if (file_name == ".json") return std::optional<ModelCard>();
    for (const auto& folder : folders) {
        const auto path = folder / file_name;
        std::error_code error;
        if (folder.empty() || !std::filesystem::is_regular_file(path, error)) continue;
        LUCEBOX_TRY(const std::string text, read_text_file(path, most_card_bytes));
        return parsed(path.string(), text);
    }
    for (const BuiltInCard& card : built_in_cards())
        if (card.file_name == file_name) return parsed(file_name, card.text);
    return std::optional<ModelCard>();
}

Budgets family_budgets(std::string_view architecture) {
    if (architecture.starts_with("qwen3") || architecture.starts_with("laguna")) return with_answer("family", 32'768, 4096);
    if (architecture.starts_with("gemma4")) return with_answer("family", 16'384, 4096);
    return with_answer("fallback", 16'000, 4096);
}

} // namespace lucebox::server
