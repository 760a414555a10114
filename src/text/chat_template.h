// Chat templates: the model file's own Jinja text, rendered with the conversation.
//
// Parsing happens once; rendering is const and may run on any thread. A template is untrusted: every loop turn, call,
// and byte of output is paid from a budget, and running out is an error, never a hang.
#pragma once

#include "base/result.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace lucebox::text {

using Json = nlohmann::ordered_json; // key order is part of the rendered text

struct TemplateBudget {
    std::size_t steps = 1'000'000;               // evaluated nodes; a turn of a conversation takes about a hundred
    std::size_t depth = 100;                     // nesting of expressions, blocks and macro calls
    std::size_t output_bytes = 8u << 20;         // rendered text, and any one intermediate value
    std::chrono::milliseconds time{35};          // CPU time of the thread; one more step may follow
};

class ChatTemplate {
public:
    // Errors say line and what was expected there.
    static Result<ChatTemplate> parse(std::string_view source);

    ChatTemplate(ChatTemplate&&) noexcept;
    ChatTemplate& operator=(ChatTemplate&&) noexcept;
    ~ChatTemplate();

    // `variables` is an object: messages, tools, add_generation_prompt, enable_thinking, bos_token, ...
    Result<std::string> render(const Json& variables, const TemplateBudget& budget = {}) const;

private:
    struct State;
    explicit ChatTemplate(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace lucebox::text
