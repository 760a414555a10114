// How a generation looks on the wire, in the dialect of one route.
//
// One object serves one exchange: it makes either the parts of a stream, in the order begin, piece, end for each
// choice, or one whole body. Not thread-safe; the caller serialises. The tokenizer must outlive it.
#pragma once

#include "engine/engine.h"
#include "server/api/json.h"
#include "text/tools/output_parser.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::server {

// What all parts of one answer share.
struct AnswerIdentity {
    std::string id;
    std::int64_t created = 0; // Unix time
    std::string model;
    std::string fingerprint;
};

struct Choice;

// Sums over the choices of one answer; seconds are those of the longest, because choices run side by side.
struct Usage {
    std::size_t prompt_tokens = 0; // each prompt counted once
    std::size_t completion_tokens = 0;
    std::size_t cached_tokens = 0;    // prompt tokens that needed no work
    std::size_t processed_tokens = 0; // prompt tokens that did
    std::size_t reasoning_tokens = 0; // of the completion tokens
    double prompt_seconds = 0, generation_seconds = 0;
    decode::SpeculationStats speculation;

    void add(const engine::Finished& finished, const Choice& choice, bool first_of_its_prompt);
};

struct ToolCall {
    std::string id, name;
    std::string arguments; // the text of a JSON object, as far as it has come
    bool broken = false;   // it was never completed; its text is content instead
};

// One answer, as far as it has come.
struct Choice {
    std::string text;
    std::string reasoning;
    std::vector<ToolCall> calls;
    std::vector<decode::Sample> samples; // one for each token of `text`, if log-probabilities were asked for
    engine::FinishReason reason = engine::FinishReason::stop;
    std::optional<std::string> stop_string; // that ended it
    std::size_t generated_tokens = 0, reasoning_tokens = 0;
    std::vector<text::TokenId> tokens; // all that were generated, if tools were declared
    engine::ReasoningClose reasoning_close = engine::ReasoningClose::none;

    bool has_calls() const; // whole ones
};

class AnswerFormat {
public:
    virtual ~AnswerFormat() = default;

    // Parts of a stream, ready to send; empty: nothing to send.
    virtual std::string open() { return ""; } // before anything is generated
    virtual std::string begin(std::size_t choice) = 0;
    // What has just come. `so_far` holds it already. call_broken does not come here: its text comes as content.
    virtual std::string piece(std::size_t choice, const Choice& so_far, const text::OutputEvent& event,
                              std::span<const decode::Sample> samples) = 0;
    virtual std::string end(std::size_t choice, const Choice& whole) = 0;
    virtual std::string close(std::span<const Choice> choices, const Usage& usage) = 0; // behind all choices
    virtual std::string failure(const ApiError& error) = 0;
    virtual std::string heartbeat() { return ": keep-alive\n\n"; }

    virtual std::string whole(std::span<const Choice> choices, const Usage& usage) = 0;
    virtual std::string_view call_prefix() const { return "call_"; } // of the ids of tool calls
};

struct FormatOptions {
    bool include_usage = false; // in the stream
    bool logprobs = false;
    std::vector<std::string> echoes; // for each choice: text in front of the completion
    bool reports_reasoning = false;  // finish_details: the request set a reasoning budget
    bool hides_reasoning = false;    // it is thought, but not shown
    std::size_t prompt_tokens = 0;   // known before the first token
    std::string request_id;
    Json request = Json::object();   // of the Responses dialect: what its answers repeat
};

std::unique_ptr<AnswerFormat> chat_format(AnswerIdentity identity, FormatOptions options,
                                          const text::Tokenizer& tokenizer);
std::unique_ptr<AnswerFormat> completion_format(AnswerIdentity identity, FormatOptions options,
                                                const text::Tokenizer& tokenizer);
std::unique_ptr<AnswerFormat> messages_format(AnswerIdentity identity, FormatOptions options,
                                              const text::Tokenizer& tokenizer); // Anthropic
std::unique_ptr<AnswerFormat> responses_format(AnswerIdentity identity, FormatOptions options,
                                               const text::Tokenizer& tokenizer);

std::string random_hex(std::size_t digits);
// Counts of speculation with their ratios; by_position: of guesses at depth 1, 2, ... behind accepted ones.
Json speculation_json(const decode::SpeculationStats& stats);
Json usage_json(const Usage& usage);
Json timings_json(const Usage& usage);
// A token's text for people: bytes that are not UTF-8 are replaced.
std::string token_text(const text::Tokenizer& tokenizer, text::TokenId token);

} // namespace lucebox::server
