// The engine: one loaded model, one thread that runs its steps, and the requests that share them.
//
// submit() queues a request from any thread; its events arrive on the engine's thread, in order, ending with exactly
// one Finished. A callback must not block and must not call back into the engine except cancel(). Dropping the engine
// finishes every request with ErrorKind::unavailable.
#pragma once

#include "base/result.h"
#include "compute/devices.h"
#include "decode/sampler.h"
#include "decode/speculation.h"
#include "engine/choose_shape.h"
#include "text/chat_template.h"
#include "text/grammar/grammar.h"
#include "text/grammar/token_trie.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace lucebox::engine {

using text::TokenId;
using RequestId = std::uint64_t;

// Reasoning that the prompt has opened, and how long it may last.
struct Reasoning {
    std::string close;                 // the text that ends it: "</think>"; not empty
    std::optional<std::size_t> budget; // tokens, after which it is closed; none: as long as the answer may be
    std::vector<TokenId> closing;      // what is written then; empty: nothing, so it is never closed
    float soft_ratio = 0;              // close it as soon as closing is at least this times as likely as what was chosen
};
enum class ReasoningClose { none, natural, soft, hard };

// How a text's final hidden states become one vector: their mean, or the last token's alone.
enum class Pooling { mean, last };

struct Request {
    std::vector<TokenId> prompt;          // at least one token
    decode::SamplingParams sampling;
    std::size_t max_tokens = SIZE_MAX;    // as many as the context holds
    std::vector<std::string> stop;
    bool logprobs = false;
    std::int32_t top_logprobs = 0;
    bool ignore_end = false;              // go on behind end-of-generation tokens (benchmarks)
    bool show_special = false;            // control tokens appear in the text
    std::optional<Reasoning> reasoning;
    text::Grammar::Pointer grammar;       // of the answer, behind any reasoning; null: free text
    std::size_t grammar_sharers = 1;      // requests, this one included, that divide among them what the grammar may cost
    std::uint64_t client = 0;             // whose it is: clients take turns
    bool background = false;              // lets others go first
    std::optional<Pooling> pooling;       // nothing is generated: the prompt's embedding is asked for
};

// Prompt tokens processed so far; sent at most a few times a second, and once with processed == total.
struct Progress {
    std::size_t processed = 0, total = 0;
};

struct Generated {
    decode::Sample sample;
    std::string text; // whole UTF-8; empty while a character or a possible stop string is incomplete
    bool guessed = false; // speculation had proposed this token, so that it cost no step of its own
};

enum class FinishReason { stop, length, cancelled, error };

struct Timings { // seconds
    double queued = 0, prompt = 0, generation = 0;
};

struct Finished {
    FinishReason reason = FinishReason::stop;
    std::string text;                        // what was still held back
    std::optional<std::string> stop_string;  // the stop string that matched
    std::optional<TokenId> stop_token;       // the end-of-generation token that was sampled
    std::optional<Error> error;
    std::size_t prompt_tokens = 0, generated_tokens = 0, cached_tokens = 0;
    std::size_t reasoning_tokens = 0;        // of the generated ones, its end included
    ReasoningClose reasoning_close = ReasoningClose::none;
    Timings timings;
    decode::SpeculationStats speculation;
    std::vector<float> embedding;            // of Request::pooling: ModelInfo::width numbers, of length 1
};

using Event = std::variant<Progress, Generated, Finished>;
using OnEvent = std::function<void(Event&&)>;

struct Options {
    std::filesystem::path model;
    std::size_t context = 0;        // tokens per sequence; 0: what the model was trained for, at most 8192 (CPU)
    std::size_t sequences = 4;      // requests that run side by side; 0: 4, or as many as fit
    std::optional<compute::DType> kv_type; // of cached keys and values; none: the model's own, or q8_0 if only so the context fits
    std::size_t queue = 64;         // requests that wait; more are refused with ErrorKind::unavailable
    std::size_t client_queue = 0;     // of one client that wait; 0: as many as wait at all
    std::size_t client_sequences = 0; // of one client that run; 0: as many as run at all
    bool reuse_prefixes = true;     // a request goes on from what an earlier one left behind; the results are the same
    compute::DeviceOptions device;
    std::size_t prompt_border = 0;  // prompts are cut as on a device with this Device::prompt_border, for tests; 0: the device's own
    std::filesystem::path draft;    // a DFlash draft of the model; empty: none
    std::size_t draft_head = 0;     // it guesses among the first so many tokens of the vocabulary; 0: among all
    bool draft_may_not_fit = false; // then one that is of another model is left out, with a warning; else that is an error
    decode::Speculation speculation; // what is guessed never changes the text, only how soon it comes
    // What to wish for on a device where context or sequences are 0; asked once, while loading. Empty: no wish.
    std::function<Wish(std::string_view device, const compute::DeviceMemory&)> wish;
};

struct DraftInfo {
    std::string name, architecture;
    std::filesystem::path path;
    std::uint64_t bytes = 0;
    std::size_t layers = 0, block = 0;
    std::vector<std::size_t> target_layers;
};

struct ModelInfo {
    std::string name;         // general.name, else the file's stem
    std::string architecture; // "llama"
    std::string quantisation; // of most of its bytes: "Q4_1"
    std::filesystem::path path;
    std::uint64_t file_bytes = 0, parameters = 0;
    std::size_t layers = 0, width = 0, vocabulary = 0;
    std::size_t trained_context = 0, context = 0;
    std::string kv_type;      // of cached keys and values: "f16"
    Pooling pooling = Pooling::mean; // that its embeddings were trained for, if the file says so
    std::optional<DraftInfo> draft;
    std::vector<Choice> choices; // of what was left open, and why
};

struct Memory { // bytes
    std::uint64_t weights = 0, kv = 0, recurrent = 0, scratch = 0;
    std::uint64_t draft_weights = 0, draft_kv = 0;
};

struct Stats { // since start; monotonic unless said otherwise
    std::uint64_t requests_finished = 0, requests_cancelled = 0, requests_failed = 0, requests_refused = 0;
    std::uint64_t prompt_tokens = 0, generated_tokens = 0, steps = 0;
    double prompt_seconds = 0, generation_seconds = 0;
    std::uint64_t prefix_hits = 0, prefix_misses = 0, prefix_tokens = 0; // requests; prompt tokens that needed no work
    std::size_t running = 0, waiting = 0; // now
    std::size_t resting = 0;              // now: ended sequences whose tokens are kept
    std::size_t kv_tokens = 0;            // now, over all sequences
    decode::SpeculationStats speculation;
};

class Engine {
public:
    // `progress` (0..1) may be called from this thread while weights load.
    static Result<std::unique_ptr<Engine>> load(const Options& options, std::function<void(double)> progress = {});
    ~Engine();

    // Refuses (usage) a prompt that does not fit the context with a token of answer, if one is asked for, naming both numbers;
    // (unavailable) when the queue is full.
    Result<RequestId> submit(Request request, OnEvent on_event);
    void cancel(RequestId id); // unknown ids are ignored

    const ModelInfo& model() const;
    const Memory& memory() const;
    std::string memory_table() const; // what was planned at load, for people
    const Options& options() const;
    std::string_view device_name() const;
    const text::Tokenizer& tokenizer() const;
    text::TokenTrie::Pointer token_trie() const; // built when first asked for
    const text::ChatTemplate* chat_template() const; // nullptr if the file has none
    std::string_view chat_template_source() const;
    Stats stats() const;
    std::optional<Error> failure() const; // of the device, after which nothing can be generated; submit() returns it, too

private:
    struct State;
    explicit Engine(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace lucebox::engine
