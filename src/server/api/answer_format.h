// How a generation looks on the wire, in the dialect of one route.
//
// One object serves one exchange: it makes either the parts of a stream, in the order begin, piece, end for each
// choice, or one whole body. Not thread-safe; the caller serialises. The tokenizer must outlive it.
#pragma once

#include "engine/engine.h"
#include "server/api/json.h"

#include <cstdint>
#include <memory>
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

// Sums over the choices of one answer; seconds are those of the longest, because choices run side by side.
struct Usage {
    std::size_t prompt_tokens = 0; // each prompt counted once
    std::size_t completion_tokens = 0;
    std::size_t cached_tokens = 0;    // prompt tokens that needed no work
    std::size_t processed_tokens = 0; // prompt tokens that did
    double prompt_seconds = 0, generation_seconds = 0;

    void add(const engine::Finished& finished, bool first_of_its_prompt);
};

struct Choice {
    std::string text;
    std::vector<decode::Sample> samples; // one for each token of `text`, if log-probabilities were asked for
    engine::FinishReason reason = engine::FinishReason::stop;
};

class AnswerFormat {
public:
    virtual ~AnswerFormat() = default;

    // Parts of a stream, ready to send; empty: nothing to send.
    virtual std::string begin(std::size_t choice) = 0;
    virtual std::string piece(std::size_t choice, std::string_view text, std::span<const decode::Sample> samples) = 0;
    virtual std::string end(std::size_t choice, engine::FinishReason reason) = 0;
    virtual std::string close(const Usage& usage) = 0; // behind all choices
    virtual std::string failure(const ApiError& error) = 0;

    virtual std::string whole(std::span<const Choice> choices, const Usage& usage) = 0;
};

struct FormatOptions {
    bool include_usage = false; // in the stream
    bool logprobs = false;
    std::vector<std::string> echoes; // for each choice: text in front of the completion
};

std::unique_ptr<AnswerFormat> chat_format(AnswerIdentity identity, FormatOptions options,
                                          const text::Tokenizer& tokenizer);
std::unique_ptr<AnswerFormat> completion_format(AnswerIdentity identity, FormatOptions options,
                                                const text::Tokenizer& tokenizer);

Json usage_json(const Usage& usage);
Json timings_json(const Usage& usage);
// A token's text for people: bytes that are not UTF-8 are replaced.
std::string token_text(const text::Tokenizer& tokenizer, text::TokenId token);

} // namespace lucebox::server
