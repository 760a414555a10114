// From a request to the ids the model reads: the model's own chat template over the conversation, then the tokenizer.
//
// Immutable after construction; any thread. Rendering may take as long as the template's budget allows (seconds for a
// hostile one), so not on an I/O thread. The tokenizer must outlive it.
#pragma once

#include "server/api/control_text.h"
#include "server/api/request.h"
#include "server/api/tool_memory.h"
#include "text/tools/output_parser.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace lucebox::server {

// Empty function: the model has no chat template.
using RenderTemplate = std::function<Result<std::string>(const Json& variables)>;

// How a model's family writes what is not plain content, seen from its template.
struct ModelStyle {
    text::ReasoningMarkers reasoning; // empty markers: it does not reason
    std::string opens, closes;        // what a prompt or the server writes to begin and to end it
    bool knows_tools = false;         // the template shows tools to the model
    bool reasons() const { return !reasoning.open.empty(); }
};
ModelStyle style_of_template(std::string_view source);

struct ChatPrompt {
    std::vector<text::TokenId> tokens;
    bool opens_reasoning = false; // the model's first token is a thought
    TurnPlace place;              // of the turn that the model will write
    std::size_t replayed = 0;     // earlier turns that stand there as the model wrote them
};

class PromptBuilder {
public:
    PromptBuilder(const text::Tokenizer& tokenizer, RenderTemplate render, std::string_view template_source);

    // With exactly one BOS in front where the model wants one, whether or not the template writes it.
    // `must_open`: where thinking is wanted, the prompt opens it, even if the template leaves that to the model.
    // `memory`: of turns that called tools, which are repeated as they were; may be null.
    Answer<ChatPrompt> chat(const ChatRequest& request, bool must_open = false, ToolMemory* memory = nullptr) const;
    Answer<std::string> chat_text(const ChatRequest& request) const;

    // A raw prompt: written by hand in the model's own syntax, so control tokens count.
    Answer<std::vector<text::TokenId>> completion(std::string_view prompt) const;
    // Ids as they are, if they are in the vocabulary. `param`: the field they came in.
    Answer<std::vector<text::TokenId>> completion(std::vector<text::TokenId> ids, const std::string& param) const;

    // What the model is to write between `prompt` and `suffix`, if its vocabulary has the tokens for that. Nothing in a text
    // is a control token here: it is somebody's source file.
    Answer<std::vector<text::TokenId>> between(const TextOrTokens& prompt, std::string_view suffix) const;

    const ModelStyle& style() const { return style_; }

private:
    struct Rendered {
        std::string text;
        std::string mark;
    };
    Answer<Rendered> render(const ChatRequest& request) const;
    struct Replay {
        ToolMemory::Turn turn;
        std::string placeholder; // where the template puts its calls
        bool has_tail = false;   // what the prompt had in front of it stays
    };
    std::optional<ChatPrompt> finish(const ChatRequest& request, Rendered rendered, bool must_open, const std::vector<Replay>& replays) const;
    static std::vector<Replay> take_out(Json& messages, ToolMemory& memory);
    std::optional<std::vector<text::TokenId>> splice(const Rendered& rendered, const std::vector<Replay>& replays) const;
    TurnPlace place_of_answer(std::string_view text, std::string_view mark) const;
    Result<std::string> render_messages(const ChatRequest& request, const Json& messages, const std::string& mark) const;
    void begin_once(std::vector<text::TokenId>& tokens) const;

    struct FillIn {
        text::TokenId prefix = -1, suffix = -1, middle = -1;
    };
    static FillIn fill_in_tokens(const text::Tokenizer& tokenizer);

    const text::Tokenizer& tokenizer_;
    RenderTemplate render_;
    std::string template_source_;
    ModelStyle style_;
    bool knows_developer_ = false; // the template treats that role itself
    ControlText control_;
    std::vector<std::string> ends_; // names of the tokens that end a turn
    FillIn fill_in_;
};

} // namespace lucebox::server
