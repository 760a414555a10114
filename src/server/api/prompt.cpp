#include "server/api/prompt.h"

#include <fmt/format.h>

namespace lucebox::server {

PromptBuilder::PromptBuilder(const text::Tokenizer& tokenizer, RenderTemplate render, std::string_view template_source)
    : tokenizer_(tokenizer), render_(std::move(render)), template_source_(template_source),
      knows_developer_(template_source.find("developer") != std::string_view::npos), control_(tokenizer) {}

Answer<PromptBuilder::Rendered> PromptBuilder::render(const ChatRequest& request) const {
    if (!render_)
        return unsupported_field("messages", "This model has no chat template; use /v1/completions with a prompt.");
    const Json strings = Json::array({request.messages, request.tools, request.template_variables});
    const std::string mark = control_.unused_mark(strings, template_source_);
    if (mark.empty()) return bad_field("messages", "The messages hold every code point from U+FDD0 to U+FDEF.");

    Json variables = control_.marked_strings(request.template_variables, mark);
    Json& messages = variables["messages"] = Json::array();
    for (const Json& given : request.messages) {
        Json message = control_.marked_strings(given, mark);
        Json& role = message["role"] = given["role"]; // one of a closed list
        if (role == "developer" && !knows_developer_) role = "system";
        messages.push_back(std::move(message));
    }
    variables["tools"] = control_.marked_strings(request.tools, mark);
    variables["documents"] = Json();
    variables["add_generation_prompt"] = request.add_generation_prompt;
    const auto name_of = [&](text::TokenId id) { return id < 0 ? "" : tokenizer_.token_bytes(id, true); };
    variables["bos_token"] = name_of(tokenizer_.bos());
    variables["eos_token"] = name_of(tokenizer_.eos());

    auto text = render_(variables);
    if (!text) // the template's own complaint ("roles must alternate"), or a budget that ran out
        return bad_field("messages", fmt::format("The model's chat template refuses this: {}",
                                                 ControlText::unmarked(text.error().message, mark)));
    return Rendered{std::move(*text), mark};
}

Answer<std::vector<text::TokenId>> PromptBuilder::chat(const ChatRequest& request) const {
    auto rendered = render(request);
    if (auto* error = std::get_if<ApiError>(&rendered)) return std::move(*error);
    const auto& [text, mark] = std::get<Rendered>(rendered);
    auto tokens = control_.encode(text, mark);
    begin_once(tokens);
    if (tokens.empty()) return bad_field("messages", "The model's chat template made an empty prompt of the messages.");
    return tokens;
}

Answer<std::string> PromptBuilder::chat_text(const ChatRequest& request) const {
    auto rendered = render(request);
    if (auto* error = std::get_if<ApiError>(&rendered)) return std::move(*error);
    return ControlText::unmarked(std::get<Rendered>(rendered).text, std::get<Rendered>(rendered).mark);
}

Answer<std::vector<text::TokenId>> PromptBuilder::completion(std::string_view prompt) const {
    auto tokens = tokenizer_.encode(prompt, {.add_special = true, .parse_special = true});
    begin_once(tokens);
    if (tokens.empty() && tokenizer_.bos() >= 0) tokens.push_back(tokenizer_.bos());
    if (tokens.empty()) return bad_field("prompt", "The prompt is empty, and this model has no token to begin with.");
    return tokens;
}

Answer<std::vector<text::TokenId>> PromptBuilder::completion(std::vector<text::TokenId> ids,
                                                             const std::string& param) const {
    for (const text::TokenId id : ids)
        if (id < 0 || id >= tokenizer_.vocabulary_size())
            return bad_field(param, fmt::format("{} holds the id {}; this model's go from 0 to {}.", param, id,
                                                tokenizer_.vocabulary_size() - 1));
    if (ids.empty()) return bad_field(param, fmt::format("{} holds an empty list of ids.", param));
    return ids;
}

void PromptBuilder::begin_once(std::vector<text::TokenId>& tokens) const {
    const text::TokenId bos = tokenizer_.bos();
    if (bos < 0) return;
    while (tokens.size() > 1 && tokens[0] == bos && tokens[1] == bos)
        tokens.erase(tokens.begin());
    if (tokenizer_.adds_bos() && (tokens.empty() || tokens[0] != bos)) tokens.insert(tokens.begin(), bos);
}

} // namespace lucebox::server
