// Requests of the OpenAI routes as typed values.
//
// Parsing checks types, ranges and counts; what needs the model (the length of the prompt, ids against the vocabulary)
// is checked where the model is at hand. Every error names the field as the client wrote it.
#pragma once

#include "decode/sampler.h"
#include "server/api/json.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace lucebox::server {

// What a request may ask for at most, and what it gets without asking.
struct RequestLimits {
    decode::SamplingParams defaults; // seed is ignored: without one, every answer differs
    std::int64_t choices = 16;       // n
    std::size_t prompts = 64;        // in one completion request
    std::size_t sequences = 64;      // choices times prompts
    std::size_t stops = 32;          // stop strings,
    std::size_t stop_bytes = 1024;   // and the length of each
    std::size_t biases = 4096;       // entries of logit_bias
    std::size_t messages = 65'536;
    std::size_t tools = 1024;
    std::size_t prompt_tokens = 4'194'304; // in a prompt given as ids
    // Beginnings of lines that differ in every request of one conversation. In system messages such lines are left out:
    // behind them nothing could be found in memory.
    std::vector<std::string> volatile_lines{"x-anthropic-billing-header:"};
};

// What an answer has to look like.
struct AnswerForm {
    enum class Kind { free, json_object, json_schema, grammar };
    Kind kind = Kind::free;
    Json schema;         // json_schema
    std::string grammar; // in GBNF
    std::string param;   // the field that asked for it
};

struct ToolChoice {
    enum class Kind { automatic, required, named };
    Kind kind = Kind::automatic; // "none" gives the model no tools in the first place
    std::string name;
};

// How much a request lets the model think.
struct Thinking {
    bool enabled = false;
    std::string effort;                     // "low", "medium", "high", "xhigh", "max"; empty: not named
    std::optional<std::size_t> budget;      // tokens
    std::optional<std::size_t> reply_budget; // tokens kept for the answer
    double soft_ratio = 0;                  // see engine::Reasoning
    bool has_budget = false;                // the request asked for a limit: report how it was kept
    bool hidden = false;                    // thought, but not shown
};

// The fields that every generation route shares.
struct GenerationOptions {
    std::string model; // as written; empty: the server's own name
    decode::SamplingParams sampling;
    std::optional<std::uint64_t> seed;
    std::optional<std::size_t> max_tokens;
    std::vector<std::string> stop;
    std::size_t n = 1;
    bool stream = false;
    bool include_usage = false; // in streams; whole answers always have it
    bool logprobs = false;
    std::int32_t top_logprobs = 0;
    bool ignore_end = false;
    bool show_special = false;
    AnswerForm form;
};

struct ChatRequest {
    GenerationOptions options;
    Json messages = Json::array();            // role, content (a string), and whatever else the client wrote
    Json tools;                               // null: none, or tool_choice "none"
    ToolChoice tool_choice;
    bool one_call = false;                    // parallel_tool_calls is false
    Thinking thinking;
    Json template_variables = Json::object(); // chat_template_kwargs, enable_thinking, reasoning_effort
    bool add_generation_prompt = true;
    std::string prefill; // what the answer begins with; it is not repeated in it
};

using TextOrTokens = std::variant<std::string, std::vector<text::TokenId>>;

struct CompletionRequest {
    GenerationOptions options;
    std::vector<TextOrTokens> prompts;
    std::string suffix; // what follows behind the completion; empty: nothing is known of it
    bool echo = false;
};

struct TokenizeRequest {
    std::string content;
    bool add_special = false;
    bool parse_special = true;
    bool with_pieces = false;
};

Answer<ChatRequest> parse_chat_request(const Json& body, const RequestLimits& limits);
Answer<CompletionRequest> parse_completion_request(const Json& body, const RequestLimits& limits);
// A string, an array of at most `most` strings or lists of ids, or one list of ids; at least one.
std::vector<TextOrTokens> read_texts(Fields& fields, const std::string& name, std::size_t most, std::size_t most_tokens);
// Fields of a body that nobody reads, so that the client can be told; without `read`: those of the generation routes.
std::vector<std::string> ignored_fields(const Json& body, std::span<const std::string_view> read);
std::vector<std::string> ignored_fields(const Json& body);
Answer<TokenizeRequest> parse_tokenize_request(const Json& body);
Answer<std::vector<text::TokenId>> parse_detokenize_request(const Json& body, const RequestLimits& limits);

} // namespace lucebox::server
