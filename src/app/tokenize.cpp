// lucebox tokenize: text to ids, with the piece of text each stands for.
#include "app/commands.h"
#include "text/tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <iostream>
#include <iterator>

namespace lucebox::app {

Status tokenize(const Invocation& invocation) {
    const Options& options = invocation.options;
    LUCEBOX_TRY(const auto path, chosen_model(options));
    LUCEBOX_TRY(const auto file, gguf::ModelFile::open(path));
    LUCEBOX_TRY(const auto tokenizer, text::Tokenizer::from_metadata(file));
    std::string text = options.text("text");
    if (!options.is_set("text")) text.assign(std::istreambuf_iterator<char>(std::cin), {});
    const auto ids = tokenizer->encode(text, {.add_special = false, .parse_special = options.boolean("special")});
    if (options.boolean("json")) {
        nlohmann::ordered_json json{{"tokens", ids}, {"pieces", nlohmann::ordered_json::array()}};
        for (const auto id : ids) json["pieces"].push_back(tokenizer->token_bytes(id, true));
        fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    } else {
        for (const auto id : ids) fmt::print("{:>7}  {:?}\n", id, tokenizer->token_bytes(id, true));
    }
    return Ok{};
}

} // namespace lucebox::app
