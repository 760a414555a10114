#include "server/api/prompt.h"

#include "server/api/answer_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace lucebox::server {

namespace {

// For templates that know nothing of tools: the form of Hermes, which many models have seen.
std::string tools_in_words(const Json& tools) {
    std::string text = "# Tools\n\nYou may call these functions:\n<tools>\n";
    for (const Json& tool : tools) text += to_text(tool) + "\n";
    return text + "</tools>\n\nTo call one, answer with its name and arguments as JSON, within these tags:\n<tool_call>\n"
                  "{\"name\": \"function name\", \"arguments\": {\"argument\": \"value\"}}\n</tool_call>";
}

// The conversation in words that any template knows: calls and results as text.
Json without_tool_roles(const Json& messages, const Json& tools) {
    Json result = Json::array();
    for (const Json& given : messages) {
        Json message = given;
        std::string content = message.value("content", "");
        if (message["role"] == "tool" || message["role"] == "function") {
            content = "<tool_response>\n" + content + "\n</tool_response>";
            message = {{"role", "user"}};
        }
        if (message.contains("tool_calls")) {
            for (const Json& call : message["tool_calls"]) {
                const Json& function = call["function"];
                if (!content.empty()) content += '\n';
                content += "<tool_call>\n" + to_text({{"name", function["name"]}, {"arguments", function["arguments"]}}) + "\n</tool_call>";
            }
            message.erase("tool_calls");
        }
        message["content"] = content;
        // Results of one turn are one message: many templates want the roles to alternate.
        if (message["role"] == "user" && !result.empty() && result.back()["role"] == "user")
            result.back()["content"] = result.back()["content"].get<std::string>() + "\n" + content;
        else
            result.push_back(std::move(message));
    }
    if (tools.is_null() || tools.empty()) return result;
    const bool has_system = !result.empty() && (result[0]["role"] == "system" || result[0]["role"] == "developer");
    if (!has_system) result.insert(result.begin(), Json{{"role", "system"}, {"content", ""}});
    const std::string before = result[0]["content"];
    result[0]["content"] = before + (before.empty() ? "" : "\n\n") + tools_in_words(tools);
    return result;
}

bool is_system(const Json& message) { return message["role"] == "system" || message["role"] == "developer"; }

// All system messages as one in front, for templates that take no others.
Json with_one_system_message(const Json& messages) {
    std::string text;
    Json result = Json::array();
    for (const Json& message : messages) {
        if (!is_system(message)) {
            result.push_back(message);
            continue;
        }
        if (!text.empty()) text += "\n\n";
        text += message.value("content", "");
    }
    result.insert(result.begin(), Json{{"role", "system"}, {"content", text}});
    return result;
}

} // namespace

ModelStyle style_of_template(std::string_view source) {
    const auto has = [&](std::string_view text) { return source.find(text) != std::string_view::npos; };
    ModelStyle style;
    style.reasoning = {"", "", false};
    if (has("<|channel>")) {
        style.reasoning = {"<|channel>thought", "<channel|>", true};
        style.opens = "<|channel>thought\n";
        style.closes = "<channel|>";
    } else if (has("</think>")) {
        style.reasoning = {"<think>", "</think>", false};
        style.opens = "<think>\n";
        style.closes = "\n</think>\n\n";
    }
    style.knows_tools = has("tools");
    return style;
}

PromptBuilder::PromptBuilder(const text::Tokenizer& tokenizer, RenderTemplate render, std::string_view template_source)
    : tokenizer_(tokenizer), render_(std::move(render)), template_source_(template_source),
      style_(style_of_template(template_source)), knows_developer_(template_source.find("developer") != std::string_view::npos), control_(tokenizer),
      fill_in_(fill_in_tokens(tokenizer)) {
    for (const text::TokenId id : tokenizer.end_of_generation())
        if (std::string name = tokenizer.token_bytes(id, true); !name.empty()) ends_.push_back(std::move(name));
}

Answer<PromptBuilder::Rendered> PromptBuilder::render(const ChatRequest& request) const {
    if (!render_)
        return unsupported_field("messages", "This model has no chat template; use /v1/completions with a prompt.");
    const Json strings = Json::array({request.messages, request.tools, request.template_variables, request.prefill});
    const std::string mark = control_.unused_mark(strings, template_source_);
    if (mark.empty()) return bad_field("messages", "The messages hold every code point from U+FDD0 to U+FDEF.");

    const bool has_calls = std::any_of(request.messages.begin(), request.messages.end(), [](const Json& message) {
        return message.contains("tool_calls") || message["role"] == "tool" || message["role"] == "function";
    });
    const bool in_words = !style_.knows_tools && (has_calls || !request.tools.is_null());
    const Json messages = in_words ? without_tool_roles(request.messages, request.tools) : request.messages;
    auto text = render_messages(request, messages, mark);
    if (!text && std::any_of(messages.begin(), messages.end(), is_system)) {
        // Many templates take a system message in front only.
        if (auto again = render_messages(request, with_one_system_message(messages), mark)) text = std::move(again);
    }
    if (!text) // the template's own complaint ("roles must alternate"), or a budget that ran out
        return bad_field("messages", fmt::format("The model's chat template refuses this: {}",
                                                 ControlText::unmarked(text.error().message, mark)));
    return Rendered{std::move(*text), mark};
}

Result<std::string> PromptBuilder::render_messages(const ChatRequest& request, const Json& given_messages, const std::string& mark) const {
    Json variables = control_.marked_strings(request.template_variables, mark);
    Json& messages = variables["messages"] = Json::array();
    for (const Json& given : given_messages) {
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
    return render_(variables);
}

Answer<ChatPrompt> PromptBuilder::chat(const ChatRequest& request, bool must_open, ToolMemory* memory) const {
    if (memory != nullptr && render_) {
        ChatRequest with_places = request;
        const auto replays = take_out(with_places.messages, *memory);
        // What goes wrong here goes wrong without, too; then it is said in the client's own terms.
        if (!replays.empty()) {
            auto rendered = render(with_places);
            if (auto* good = std::get_if<Rendered>(&rendered)) {
                if (auto prompt = finish(request, std::move(*good), must_open, replays)) return std::move(*prompt);
            }
        }
    }
    auto rendered = render(request);
    if (auto* error = std::get_if<ApiError>(&rendered)) return std::move(*error);
    auto prompt = finish(request, std::move(std::get<Rendered>(rendered)), must_open, {});
    if (!prompt) return bad_field("messages", "The model's chat template made an empty prompt of the messages.");
    return std::move(*prompt);
}

// None: the prompt is empty, or an earlier turn has no place in it.
std::optional<ChatPrompt> PromptBuilder::finish(const ChatRequest& request, Rendered rendered, bool must_open,
                                                const std::vector<Replay>& replays) const {
    auto& [text, mark] = rendered;
    ChatPrompt prompt;
    if (style_.reasons()) {
        const std::size_t end = text.find_last_not_of(" \t\r\n") + 1;
        prompt.opens_reasoning = std::string_view(text).substr(0, end).ends_with(style_.reasoning.open);
        const bool is_closed = std::string_view(text).substr(0, end).ends_with(style_.reasoning.close);
        if (must_open && request.thinking.enabled && !prompt.opens_reasoning && !is_closed) {
            text += style_.opens;
            prompt.opens_reasoning = true;
        }
    }
    if (!request.prefill.empty()) {
        if (prompt.opens_reasoning) text += style_.closes;
        prompt.opens_reasoning = false;
        text += control_.marked(request.prefill, mark);
    } else {
        prompt.place = place_of_answer(text, mark);
    }
    auto tokens = splice(rendered, replays);
    if (!tokens) return std::nullopt;
    prompt.tokens = std::move(*tokens);
    prompt.replayed = replays.size();
    begin_once(prompt.tokens);
    if (prompt.tokens.empty()) return std::nullopt;
    return prompt;
}

// The last control token that is none of reasoning's, and what follows it, opens a turn; the reasoning's marks are its tail.
TurnPlace PromptBuilder::place_of_answer(std::string_view text, std::string_view mark) const {
    constexpr std::size_t longest_opening = 256;
    const std::size_t from = text.size() - std::min(text.size(), longest_opening);
    std::size_t tail = text.size();
    if (style_.reasons()) {
        const std::size_t opens = text.rfind(style_.reasoning.open);
        if (opens != std::string_view::npos && opens >= from) {
            const std::size_t closes = text.find(style_.reasoning.close, opens);
            const std::size_t end = closes == std::string_view::npos ? opens + style_.reasoning.open.size() : closes + style_.reasoning.close.size();
            if (text.find_first_not_of(" \t\r\n", end) == std::string_view::npos) tail = opens;
        }
        const std::string_view close = style_.reasoning.close; // some families begin an answer without thoughts with the closing mark
        const std::string_view before = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
        if (tail == text.size() && before.ends_with(close)) tail = before.size() - close.size();
    }
    std::size_t begin = control_.last_name(text.substr(0, tail), from);
    // Tags may be ordinary tokens, too: one begins the last line.
    const std::size_t line = text.substr(from, tail - from).rfind("\n<");
    if (line != std::string_view::npos) begin = begin == std::string_view::npos ? from + line + 1 : std::max(begin, from + line + 1);
    if (begin == std::string_view::npos || text.substr(begin).find(mark) != std::string_view::npos) return {};
    return {std::string(text.substr(begin, tail - begin)), std::string(text.substr(tail))};
}

// Puts a placeholder into the calls of each message that is remembered.
std::vector<PromptBuilder::Replay> PromptBuilder::take_out(Json& messages, ToolMemory& memory) {
    std::size_t behind_user = 0; // the first message of the turn that goes on
    for (std::size_t i = 0; i < messages.size(); ++i)
        if (messages[i]["role"] == "user") behind_user = i;
    std::vector<Replay> replays;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        Json& message = messages[i];
        if (message["role"] != "assistant") continue;
        auto turn = memory.find(message);
        if (!turn || turn->place.opening.empty()) continue;
        // Thoughts of earlier turns are the template's affair, which knows whether the model wants to see them.
        const bool goes_on = i > behind_user;
        if (!goes_on && turn->reasoned) continue;
        Replay replay{std::move(turn), fmt::format("replay{}x{:03}", random_hex(24), replays.size()), goes_on};
        message["content"] = "";
        message.erase("reasoning_content");
        for (Json& call : message["tool_calls"]) call["function"]["arguments"] = Json::object();
        message["tool_calls"][0]["function"]["arguments"][replay.placeholder] = "";
        replays.push_back(std::move(replay));
    }
    return replays;
}

// The ids of a rendered text, with the remembered turns in their places; none: one has no place.
std::optional<std::vector<text::TokenId>> PromptBuilder::splice(const Rendered& rendered, const std::vector<Replay>& replays) const {
    const std::string_view text = rendered.text;
    std::vector<text::TokenId> tokens;
    std::size_t done = 0;
    for (const Replay& replay : replays) {
        const auto& [opening, tail] = replay.turn->place;
        const std::size_t at = text.find(replay.placeholder, done);
        if (at == std::string_view::npos || text.find(replay.placeholder, at + 1) != std::string_view::npos) return std::nullopt;
        const std::size_t opens = text.substr(0, at).rfind(opening);
        if (opens == std::string_view::npos || opens < done) return std::nullopt;
        const std::size_t begin = opens + opening.size();
        std::size_t end = std::string_view::npos, inside = std::string_view::npos;
        for (const std::string& name : ends_) {
            std::size_t found = text.find(name, at);
            while (found != std::string_view::npos && text.substr(0, found).ends_with(rendered.mark)) found = text.find(name, found + 1); // a client's word
            end = std::min(end, found);
            inside = std::min(inside, text.substr(0, at).find(name, begin));
        }
        if (end == std::string_view::npos || inside != std::string_view::npos) return std::nullopt;
        const auto before = control_.encode(std::string(text.substr(done, begin - done)) + (replay.has_tail ? tail : ""), rendered.mark);
        tokens.insert(tokens.end(), before.begin(), before.end());
        tokens.insert(tokens.end(), replay.turn->tokens.begin(), replay.turn->tokens.end());
        done = end;
    }
    const auto rest = control_.encode(text.substr(done), rendered.mark);
    tokens.insert(tokens.end(), rest.begin(), rest.end());
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

// Each family has names of its own for what precedes the text before, the text behind, and what is to be written.
PromptBuilder::FillIn PromptBuilder::fill_in_tokens(const text::Tokenizer& tokenizer) {
    struct Names {
        std::string_view prefix, suffix, middle;
    };
    static constexpr std::array families{Names{"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"}, // Qwen, CodeGemma
                                         Names{"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},       // StarCoder, Granite
                                         Names{"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},
                                         Names{"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}, // DeepSeek
                                         Names{"▁<PRE>", "▁<SUF>", "▁<MID>"}};                        // Code Llama
    for (const Names& names : families) {
        const FillIn tokens{tokenizer.find(names.prefix), tokenizer.find(names.suffix), tokenizer.find(names.middle)};
        if (tokens.prefix >= 0 && tokens.suffix >= 0 && tokens.middle >= 0) return tokens;
    }
    return {};
}

Answer<std::vector<text::TokenId>> PromptBuilder::between(const TextOrTokens& prompt, std::string_view suffix) const {
    if (fill_in_.prefix < 0)
        return unsupported_field("suffix", "This model has no tokens for filling in between two texts; leave suffix out, or load a model "
                                           "that was trained for it, such as a Qwen coder.");
    std::vector<text::TokenId> tokens{fill_in_.prefix};
    const auto add = [&](const std::vector<text::TokenId>& more) { tokens.insert(tokens.end(), more.begin(), more.end()); };
    if (const auto* ids = std::get_if<std::vector<text::TokenId>>(&prompt)) {
        auto checked = completion(*ids, "prompt");
        if (auto* error = std::get_if<ApiError>(&checked)) return std::move(*error);
        add(*ids);
    } else {
        add(tokenizer_.encode(std::get<std::string>(prompt), {.parse_special = false}));
    }
    tokens.push_back(fill_in_.suffix);
    add(tokenizer_.encode(suffix, {.parse_special = false}));
    tokens.push_back(fill_in_.middle);
    begin_once(tokens);
    return tokens;
}

void PromptBuilder::begin_once(std::vector<text::TokenId>& tokens) const {
    const text::TokenId bos = tokenizer_.bos();
    if (bos < 0) return;
    while (tokens.size() > 1 && tokens[0] == bos && tokens[1] == bos)
        tokens.erase(tokens.begin());
    if (tokenizer_.adds_bos() && (tokens.empty() || tokens[0] != bos)) tokens.insert(tokens.begin(), bos);
}

} // namespace lucebox::server
