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
#include <string>
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
};

struct ChatRequest {
    GenerationOptions options;
    Json messages = Json::array();            // role, content (a string), and whatever else the client wrote
    Json tools;                               // null: none, or tool_choice "none"
    Json template_variables = Json::object(); // chat_template_kwargs, enable_thinking, reasoning_effort
    bool add_generation_prompt = true;
};

struct CompletionRequest {
    GenerationOptions options;
    std::vector<std::variant<std::string, std::vector<text::TokenId>>> prompts;
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
Answer<TokenizeRequest> parse_tokenize_request(const Json& body);
Answer<std::vector<text::TokenId>> parse_detokenize_request(const Json& body, const RequestLimits& limits);

} // namespace lucebox::server
