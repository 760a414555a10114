// lucebox generate: continues token ids, one plain step a token, for comparing this engine with others.
#include "app/loaded_model.h"
#include "base/npy.h"
#include "text/tokenizer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace lucebox::app {
namespace {

struct Output {
    std::vector<model::TokenId> tokens;
    std::string_view finish_reason = "length";
};

// `tokenizer` may be null: then nothing ends the text but its length.
Result<Output> continue_text(LoadedModel& model, const text::Tokenizer* tokenizer, std::span<const model::TokenId> prompt,
                             const decode::SamplingParams& params, std::size_t max_tokens, std::size_t rows) {
    for (std::size_t begin = 0; begin < prompt.size(); begin += rows) {
        LUCEBOX_CHECK(model.feed(prompt.subspan(begin, std::min(rows, prompt.size() - begin)), false));
    }
    decode::TokenHistory history;
    history.add_prompt(prompt);
    decode::Sampler sampler;
    std::vector<float> logits(model.runner->vocabulary());
    Output output;
    for (;;) {
        const auto row = model.runner->logits(0);
        std::copy(row.begin(), row.end(), logits.begin());
        const model::TokenId token = sampler.sample(logits, params, history, prompt.size() + output.tokens.size()).token;
        if (tokenizer && tokenizer->is_end_of_generation(token)) {
            output.finish_reason = "stop";
            return output;
        }
        output.tokens.push_back(token);
        if (output.tokens.size() == max_tokens) return output;
        history.add_generated(token);
        LUCEBOX_CHECK(model.feed({&token, 1}, false));
    }
}

} // namespace

Status generate(const Invocation& invocation) {
    constexpr std::size_t rows = 256;
    const Options& options = invocation.options;
    if (options.is_set("tokens") == options.is_set("prompt")) {
        return Error{ErrorKind::usage, "generate needs either --tokens FILE.npy or --prompt TEXT", "see lucebox generate --help"};
    }
    LUCEBOX_TRY(const decode::SamplingParams params, sampling_params(options, 0));
    const auto max_tokens = static_cast<std::size_t>(options.integer("max-tokens"));

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
    LUCEBOX_TRY(LoadedModel model, LoadedModel::load(options, prompt.size() + max_tokens, rows));
    const bool to_the_end = options.boolean("ignore-eos");
    LUCEBOX_TRY(const Output output,
                continue_text(model, to_the_end ? nullptr : tokenizer.get(), prompt, params, max_tokens, rows));
    const std::string text = tokenizer ? tokenizer->decode(output.tokens) : "";
    if (options.boolean("json")) {
        nlohmann::ordered_json json{{"tokens", output.tokens}, {"prompt_tokens", prompt.size()},
                                    {"finish_reason", output.finish_reason}, {"seed", params.seed}};
        json["text"] = tokenizer ? nlohmann::ordered_json(text) : nlohmann::ordered_json();
        fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    } else if (tokenizer) {
        fmt::print("{}\n", text);
    } else {
        for (const auto token : output.tokens) fmt::print("{}\n", token);
    }
    return Ok{};
}

} // namespace lucebox::app
