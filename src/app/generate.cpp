// lucebox generate: continues token ids, for comparing this engine with others, with any speculation.
#include "app/loaded_model.h"
#include "base/npy.h"
#include "decode/continue_text.h"
#include "text/tokenizer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t rows_per_step = 256;

// A path's proposals are its tokens; a tree's have parents (-1: the token that the step begins with).
Json steps_json(const decode::ContinuedText& text, bool tree) {
    Json steps = Json::array();
    for (const decode::VerifiedStep& step : text.steps) {
        Json tokens = Json::array(), parents = Json::array();
        for (const decode::DraftNode& node : step.proposals) {
            tokens.push_back(node.token);
            parents.push_back(node.parent - 1);
        }
        Json entry{{"start", step.start}, {"proposals", std::move(tokens)}, {"accepted", step.accepted}};
        if (tree) entry["parents"] = std::move(parents);
        steps.push_back(std::move(entry));
    }
    return steps;
}

Json result_json(const decode::ContinuedText& text, std::size_t prompt_tokens, std::uint64_t seed, const decode::Speculation& speculation) {
    Json json{{"tokens", text.tokens}, {"prompt_tokens", prompt_tokens}, {"finish_reason", text.ended ? "stop" : "length"}, {"seed", seed}};
    json["speculation"] = speculation.name();
    if (speculation.mode == decode::Speculation::Mode::off) return json;
    json["drafted"] = text.stats.drafted;
    json["accepted"] = text.stats.accepted;
    json["steps"] = steps_json(text, speculation.mode != decode::Speculation::Mode::chain);
    return json;
}

} // namespace

Status generate(const Invocation& invocation) {
    const Options& options = invocation.options;
    if (options.is_set("tokens") == options.is_set("prompt")) {
        return Error{ErrorKind::usage, "generate needs either --tokens FILE.npy or --prompt TEXT", "see lucebox generate --help"};
    }
    decode::ContinueOptions how;
    LUCEBOX_TRY(how.sampling, sampling_params(options, 0));
    how.max_tokens = static_cast<std::size_t>(options.integer("max-tokens"));
    how.rows = rows_per_step;
    how.keep_steps = options.boolean("json");
    LUCEBOX_TRY(const decode::Speculation speculation, decode::parse_speculation(options.text("speculation")));

    std::vector<model::TokenId> prompt;
    std::unique_ptr<text::Tokenizer> tokenizer;
    {
        LUCEBOX_TRY(const auto path, chosen_model(options));
        LUCEBOX_TRY(const auto file, gguf::ModelFile::open(path));
        auto loaded = text::Tokenizer::from_metadata(file);
        if (loaded) tokenizer = std::move(*loaded);
        else if (options.is_set("prompt")) return loaded.error();
    }
    if (options.is_set("tokens")) {
        LUCEBOX_TRY(prompt, read_npy_tokens(options.path("tokens")));
    } else {
        prompt = tokenizer->encode(options.text("prompt"), {.add_special = true, .parse_special = true});
    }
    if (prompt.empty()) return Error{ErrorKind::usage, "the prompt has no tokens"};
    if (tokenizer && !options.boolean("ignore-eos")) {
        how.ends = [&](model::TokenId token) { return tokenizer->is_end_of_generation(token); };
    }
    LUCEBOX_TRY(LoadedModel model, LoadedModel::load(options, prompt.size() + how.max_tokens, rows_per_step));
    LUCEBOX_TRY(const LoadedDraft draft, LoadedDraft::load(options, model));
    decode::Speculator speculator(speculation, *model.runner, draft.runner.get());
    model.runner->close(model.sequence); // measuring needs one
    LUCEBOX_CHECK(speculator.measure());
    LUCEBOX_TRY(model.sequence, model.runner->open());
    LUCEBOX_TRY(const decode::ContinuedText output, decode::continue_text(*model.runner, speculator, model.sequence, prompt, how));

    const std::string text = tokenizer ? tokenizer->decode(output.tokens) : "";
    if (options.boolean("json")) {
        Json json = result_json(output, prompt.size(), how.sampling.seed, speculation);
        json["text"] = tokenizer ? Json(text) : Json();
        fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace));
    } else if (tokenizer) {
        fmt::print("{}\n", text);
    } else {
        for (const auto token : output.tokens) fmt::print("{}\n", token);
    }
    return Ok{};
}

} // namespace lucebox::app
