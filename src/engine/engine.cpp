#include "engine/engine.h"

#include "base/log.h"
#include "decode/speculator.h"
#include "engine/generation.h"
#include "engine/memory_plan.h"
#include "engine/prefix_cache.h"
#include "engine/waiting_line.h"
#include "gguf/model_file.h"
#include "model/model.h"
#include "model/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_set>

namespace lucebox::engine {
namespace {

// A step of several has no more rows than share one arithmetic: each gets what it would get alone, and does not wait long.
// Longer steps are pieces of one prompt.
constexpr std::size_t shared_rows = compute::max_tree_rows;

Result<ModelInfo> describe(const gguf::ModelFile& file) {
    ModelInfo info;
    LUCEBOX_TRY(const auto name, file.get_string("general.name"));
    LUCEBOX_TRY(const auto architecture, file.get_string("general.architecture"));
    info.name = name.value_or(file.path().stem().string());
    info.architecture = architecture.value_or("");
    info.path = file.path();
    LUCEBOX_TRY(const auto pooling, file.get_unsigned(info.architecture + ".pooling_type"));
    if (pooling == std::uint64_t{3}) info.pooling = Pooling::last; // as in llama.cpp's llama_pooling_type
    info.file_bytes = file.file_bytes();
    std::map<gguf::TensorType, std::uint64_t> bytes;
    for (const gguf::Tensor& tensor : file.tensors()) {
        info.parameters += tensor.elements();
        bytes[tensor.type] += tensor.data.size();
    }
    const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
    if (most != bytes.end()) info.quantisation = gguf::block_format(most->first).name;
    return info;
}

LineLimits line_limits(const Options& options) {
    const auto or_all = [](std::size_t limit) { return limit == 0 ? SIZE_MAX : limit; };
    return {options.queue, or_all(options.client_queue), or_all(options.client_sequences)};
}

} // namespace

struct Engine::State {
    gguf::ModelFile file;
    Options options;
    ModelInfo info;
    Memory memory;
    MemoryPlan plan;
    std::unique_ptr<text::Tokenizer> tokenizer;
    std::once_flag token_trie_once;
    text::TokenTrie::Pointer token_trie;
    std::optional<text::ChatTemplate> chat_template;
    std::string chat_template_source;
    std::unique_ptr<compute::Device> device;
    std::unique_ptr<model::Runner> runner;
    std::optional<model::DflashFile> draft_file;
    std::unique_ptr<model::DraftRunner> draft;
    std::unique_ptr<decode::Speculator> speculator;

    std::mutex mutex; // guards what follows
    std::condition_variable wake;
    WaitingLine<std::unique_ptr<Generation>> waiting;
    std::unordered_set<RequestId> cancelled;
    Stats stats;
    RequestId next_id = 1;
    std::optional<Error> failure; // of the device; final
    bool stopping = false;

    // Of the engine's thread alone.
    std::vector<std::unique_ptr<Generation>> running;
    std::unordered_map<std::uint64_t, std::size_t> running_of; // how many of each client, for those who have the mutex only
    PromptCut cut;
    std::optional<PrefixCache> prefixes;
    decode::Sampler sampler;
    bool long_turn = false; // the last step was a long piece of a prompt, which nothing else goes with
    std::vector<model::Row> rows;
    std::vector<decode::Speculator::Ask> asks;
    decode::SpeculationStats speculation_of_retired;
    std::thread thread;

    State(gguf::ModelFile model_file, const Options& given) : file(std::move(model_file)), options(given), waiting(line_limits(given)) {}

    Status load(std::function<void(double)> progress);
    Status load_text();
    Status open_draft();
    Status load_draft();
    Status choose(model::RunnerOptions& runner_options);

    void run();
    std::size_t runs(std::uint64_t client) const; // with the mutex
    Status place_for(std::uint64_t client) const; // with the mutex
    bool admit();
    void drop_cancelled();
    void step();
    void retire();
    void fail_all(const Error& error);
    bool device_failed();
};

Status Engine::State::load_text() {
    LUCEBOX_TRY(tokenizer, text::Tokenizer::from_metadata(file));
    LUCEBOX_TRY(const auto source, file.get_string("tokenizer.chat_template"));
    if (!source) return Ok{};
    chat_template_source = *source;
    // A file whose template cannot be read still completes text: the chat routes say that there is no template.
    if (auto parsed = text::ChatTemplate::parse(*source)) chat_template = std::move(*parsed);
    return Ok{};
}

Status Engine::State::open_draft() {
    LUCEBOX_TRY(draft_file, model::DflashFile::open(options.draft));
    LUCEBOX_TRY(draft, model::DraftRunner::load(*draft_file, *device, *runner, options.draft_head));
    return Ok{};
}

Status Engine::State::load_draft() {
    if (!options.draft.empty()) {
        Status opened = open_draft();
        if (!opened && !options.draft_may_not_fit) return opened;
        if (!opened) log_warning("the draft {} is not used: {}", options.draft.string(), opened.error().message);
    }
    if (draft) {
        const model::DflashConfig& config = draft_file->config();
        info.draft = {config.name, config.architecture, options.draft, draft_file->bytes(), config.layers, config.block, config.target_layers};
        memory.draft_weights = draft->weight_bytes();
        memory.draft_kv = draft->cache().kv_bytes();
    }
    speculator = std::make_unique<decode::Speculator>(options.speculation, *runner, draft.get());
    LUCEBOX_CHECK(speculator->measure());
    memory.scratch = runner->scratch_bytes() + (draft ? draft->scratch_bytes() : 0);
    return Ok{};
}

// Decides on what was left open, and refuses what will not fit before a byte of it is loaded.
Status Engine::State::choose(model::RunnerOptions& runner_options) {
    const compute::DeviceMemory has = device->memory();
    const Wish wish = options.wish ? options.wish(device->name(), has) : Wish{};
    const Shape wanted = wanted_shape({options.context, options.sequences, options.kv_type}, wish, info.trained_context);
    runner_options.context = wanted.context;
    runner_options.sequences = wanted.sequences;
    runner_options.kv_type = options.kv_type;
    std::optional<model::DflashFile> with_draft; // one that cannot be used is load_draft()'s affair
    if (!options.draft.empty()) {
        if (auto opened = model::DflashFile::open(options.draft)) with_draft = std::move(*opened);
    }
    auto made = MemoryPlanner::create(file, device.get(), runner_options, with_draft ? &*with_draft : nullptr, options.draft_head);
    if (!made && with_draft) made = MemoryPlanner::create(file, device.get(), runner_options);
    LUCEBOX_TRY(const auto planner, std::move(made));
    LUCEBOX_TRY(Shape shape, fitting_shape(planner, {options.context, options.sequences, options.kv_type}, wanted, {has.available, wish.spare}));
    runner_options.context = options.context = shape.context;
    runner_options.sequences = options.sequences = shape.sequences;
    runner_options.kv_type = shape.kv_type;
    info.choices = wish.choices;
    info.choices.insert(info.choices.end(), shape.choices.begin(), shape.choices.end());
    if (wish.tree_budget != 0 && options.speculation.mode == decode::Speculation::Mode::automatic) {
        options.speculation.budget = std::min(options.speculation.budget, wish.tree_budget);
        info.choices.push_back({"guesses", fmt::format("at most {} a step", options.speculation.budget), wish.why});
    }
    LUCEBOX_TRY(plan, planner.plan(shape.context, shape.sequences, shape.kv_type));
    return Ok{};
}

Status Engine::State::load(std::function<void(double)> progress) {
    LUCEBOX_TRY(info, describe(file));
    LUCEBOX_CHECK(model::check_architecture(file));
    LUCEBOX_CHECK(load_text());
    const std::string context_key = info.architecture + ".context_length";
    LUCEBOX_TRY(const auto trained, file.get_unsigned(context_key));
    info.trained_context = static_cast<std::size_t>(trained.value_or(default_context));
    if (options.context > info.trained_context) {
        return Error{ErrorKind::usage,
                     fmt::format("a context of {} tokens was asked for; the model was trained for {}", options.context,
                                 info.trained_context),
                     fmt::format("use --context {} or less", info.trained_context)};
    }
    LUCEBOX_TRY(device, compute::make_device(options.device));
    model::RunnerOptions runner_options;
    runner_options.rows = std::max(device->prompt_rows(), shared_rows);
    LUCEBOX_CHECK(choose(runner_options));
    LUCEBOX_TRY(runner, model::Runner::load(file, *device, runner_options, std::move(progress)));
    cut.border = std::min(options.prompt_border > 0 ? options.prompt_border : device->prompt_border(), runner->options().rows);
    prefixes.emplace(*runner, cut);
    if (static_cast<std::size_t>(tokenizer->vocabulary_size()) > runner->vocabulary()) {
        return Error{ErrorKind::invalid_data, fmt::format("tokenizer.ggml.tokens has {} entries, but token_embd.weight has {} rows",
                                                          tokenizer->vocabulary_size(), runner->vocabulary())};
    }
    info.layers = runner->model().layers().size();
    info.width = runner->model().width();
    info.vocabulary = runner->vocabulary();
    info.context = options.context;
    info.kv_type = compute::dtype_name(runner->cache().options().kv_type);
    memory = {runner->model().weight_bytes(), runner->cache().kv_bytes(), runner->cache().recurrent_bytes(),
              runner->scratch_bytes()};
    return load_draft();
}

std::size_t Engine::State::runs(std::uint64_t client) const {
    const auto at = running_of.find(client);
    return at == running_of.end() ? 0 : at->second;
}

Status Engine::State::place_for(std::uint64_t client) const {
    std::size_t taken = 0;
    for (const auto& [whose, count] : running_of) taken += count;
    return waiting.check(client, options.sequences - taken, [this](std::uint64_t whose) { return runs(whose); });
}

// Waits for work; moves waiting requests into free sequences. False when the engine stops.
bool Engine::State::admit() {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return stopping || !running.empty() || !waiting.empty(); });
    if (stopping) return false;
    while (running.size() < options.sequences) {
        auto next = waiting.pop([this](std::uint64_t client) { return runs(client); });
        if (!next) break;
        ++running_of[(*next)->client()];
        running.push_back(std::move(*next));
        lock.unlock();
        const auto [sequence, kept] = prefixes->claim(running.back()->reusable_prompt());
        running.back()->start(sequence, kept, *speculator);
        lock.lock();
    }
    return true;
}

void Engine::State::drop_cancelled() {
    std::unordered_set<RequestId> ids;
    std::vector<std::unique_ptr<Generation>> dropped;
    {
        const std::lock_guard lock(mutex);
        if (cancelled.empty()) return;
        ids.swap(cancelled);
        dropped = waiting.remove_if([&](const auto& generation) { return ids.contains(generation->id()); });
        stats.requests_cancelled += dropped.size();
    }
    for (auto& generation : dropped) generation->finish(FinishReason::cancelled);
    for (auto& generation : running) {
        if (ids.contains(generation->id())) generation->finish(FinishReason::cancelled);
    }
}

void Engine::State::step() {
    rows.clear();
    asks.clear();
    std::size_t outputs = 0;
    const auto reads_long = [this](const auto& generation) { return generation->reads_long(cut); };
    const auto reads_short = [&](const auto& generation) { return generation->prompt_left() > 0 && !reads_long(generation); };
    const bool prompts = std::ranges::any_of(running, reads_short);
    // Long pieces of prompts have every other step, if others wait.
    const bool waited_for = prompts || std::ranges::any_of(running, [](const auto& generation) { return generation->decoding(); });
    long_turn = std::ranges::any_of(running, reads_long) && !(waited_for && long_turn);
    // Half of the rows are for prompts while there are some: many who come at once begin, and then write, at about one time.
    const std::size_t decode_limit = prompts ? shared_rows / 2 : shared_rows;
    // Who found no room in the last step comes first. The order of prompts is that of their coming.
    if (running.size() > decode_limit) std::stable_partition(running.begin(), running.end(), [](const auto& generation) { return generation->left_out(); });
    for (auto& generation : running) {
        generation->begin_step();
        if (!long_turn && generation->decoding() && asks.size() < decode_limit) asks.push_back(generation->ask(options.context));
    }
    speculator->plan(asks, decode_limit - asks.size());
    const auto before = Clock::now(); // guesses are measured apart
    std::size_t next = 0;
    for (auto& generation : running) {
        if (next == asks.size() || asks[next].sequence != generation->sequence()) continue;
        generation->add_tree(rows, speculator->tree(generation->sequence()), outputs);
        ++next;
    }
    const std::size_t decoded = rows.size();
    if (long_turn) {
        (*std::ranges::find_if(running, reads_long))->add_prompt(rows, cut, runner->options().rows, waited_for, outputs);
    } else {
        for (auto& generation : running) {
            const std::size_t limit = rows.empty() && cut.border == 0 ? runner->options().rows : shared_rows;
            if (reads_short(generation) && rows.size() < limit) generation->add_prompt(rows, cut, limit - rows.size(), waited_for, outputs);
        }
    }
    const std::size_t prompt_rows = rows.size() - decoded;
    if (const Status status = runner->step(rows, model::Commit::later); !status) {
        if (!device_failed()) fail_all(status.error());
        return;
    }
    std::size_t generated = 0;
    for (auto& generation : running) generation->prepare(*runner);
    for (auto& generation : running) {
        generation->fetch(*runner);
        if (device_failed()) return; // what was fetched means nothing
        generated += generation->advance(*runner, sampler, *speculator, options.context);
        if (const auto end = generation->mark_place(cut); end && options.reuse_prefixes && !generation->embeds()) prefixes->mark(generation->sequence(), *end);
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - before).count();
    if (prompt_rows == 0) speculator->observe(rows.size(), seconds);
    const std::lock_guard lock(mutex);
    ++stats.steps;
    stats.prompt_tokens += prompt_rows;
    stats.generated_tokens += generated;
    (prompt_rows > 0 ? stats.prompt_seconds : stats.generation_seconds) += seconds;
    stats.speculation = speculation_of_retired;
    for (const auto& generation : running) stats.speculation.add(speculator->stats(generation->sequence()));
}

void Engine::State::retire() {
    const std::lock_guard lock(mutex);
    stats.kv_tokens = 0;
    std::erase_if(running, [&](const auto& generation) {
        if (!generation->finished()) {
            stats.kv_tokens += runner->length(generation->sequence());
            return false;
        }
        speculation_of_retired.add(speculator->stats(generation->sequence()));
        // What a failed step left behind is not trusted.
        if (generation->reason() == FinishReason::error || !options.reuse_prefixes || generation->embeds()) {
            prefixes->forget(generation->sequence());
            runner->close(generation->sequence());
        } else {
            const std::size_t held = runner->length(generation->sequence());
            prefixes->rest(generation->sequence(), generation->tokens().first(generation->keepable(cut, held)), generation->leaves_little());
        }
        if (--running_of[generation->client()] == 0) running_of.erase(generation->client());
        if (!generation->embeds()) (generation->kept() > 0 ? stats.prefix_hits : stats.prefix_misses) += 1;
        stats.prefix_tokens += generation->kept();
        switch (generation->reason()) {
        case FinishReason::cancelled: ++stats.requests_cancelled; break;
        case FinishReason::error: ++stats.requests_failed; break;
        default: ++stats.requests_finished;
        }
        return true;
    });
    stats.running = running.size();
    stats.resting = prefixes->resting();
    stats.kv_tokens += prefixes->tokens();
}

void Engine::State::fail_all(const Error& error) {
    for (auto& generation : running) {
        if (!generation->finished()) generation->finish(FinishReason::error, error);
    }
}

// A device that failed never recovers: whoever waits is told, and submit() refuses from now on. Starting the program
// again is the way back.
bool Engine::State::device_failed() {
    const Status status = device->failure();
    if (status) return false;
    fail_all(status.error());
    std::vector<std::unique_ptr<Generation>> refused;
    {
        const std::lock_guard lock(mutex);
        failure = status.error();
        refused = waiting.remove_if([](const auto&) { return true; });
        stats.requests_failed += refused.size();
    }
    for (auto& generation : refused) generation->finish(FinishReason::error, status.error());
    return true;
}

void Engine::State::run() {
    while (admit()) {
        drop_cancelled();
        retire();
        if (running.empty()) continue;
        step();
        retire();
    }
    const Error stopped{ErrorKind::unavailable, "the server is shutting down"};
    fail_all(stopped);
    for (auto& generation : waiting.remove_if([](const auto&) { return true; })) generation->finish(FinishReason::error, stopped);
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}

Engine::~Engine() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->stopping = true;
    }
    state_->wake.notify_all();
    state_->thread.join();
}

Result<std::unique_ptr<Engine>> Engine::load(const Options& options, std::function<void(double)> progress) {
    LUCEBOX_TRY(auto file, gguf::ModelFile::open(options.model));
    auto state = std::make_unique<State>(std::move(file), options);
    LUCEBOX_CHECK(state->load(std::move(progress)));
    State& running = *state;
    std::unique_ptr<Engine> engine(new Engine(std::move(state)));
    running.thread = std::thread([&running] { running.run(); });
    return engine;
}

Result<RequestId> Engine::submit(Request request, OnEvent on_event) {
    State& state = *state_;
    LUCEBOX_CHECK(decode::validate(request.sampling));
    if (request.prompt.empty()) return Error{ErrorKind::usage, "the prompt is empty"};
    for (const TokenId token : request.prompt) {
        if (token < 0 || static_cast<std::size_t>(token) >= state.info.vocabulary) {
            return Error{ErrorKind::usage, fmt::format("token {} is outside the vocabulary of {}", token, state.info.vocabulary)};
        }
    }
    if (request.pooling && request.prompt.size() > state.info.context) {
        return Error{ErrorKind::usage, fmt::format("the text has {} tokens; the context holds {}", request.prompt.size(), state.info.context),
                     "shorten the text, or start the server with a larger --context"};
    }
    if (!request.pooling && request.prompt.size() >= state.info.context) {
        return Error{ErrorKind::usage, fmt::format("the prompt has {} tokens; the context holds {} with at least one of answer",
                                                   request.prompt.size(), state.info.context),
                     "shorten the prompt, or start the server with a larger --context"};
    }
    if (request.reasoning && request.reasoning->close.empty()) return Error{ErrorKind::usage, "the end of the reasoning has no text"};
    const std::uint64_t client = request.client;
    const bool background = request.background;
    Guide guide(request, *state.tokenizer, request.grammar ? token_trie() : nullptr);
    auto generation = std::make_unique<Generation>(std::move(request), std::move(guide), std::move(on_event), *state.tokenizer);
    RequestId id = 0;
    {
        const std::lock_guard lock(state.mutex);
        if (state.failure) {
            ++state.stats.requests_refused;
            return *state.failure;
        }
        const Status place = state.stopping ? Status(Error{ErrorKind::unavailable, "the server is shutting down"}) : state.place_for(client);
        if (!place) {
            ++state.stats.requests_refused;
            return place.error();
        }
        id = state.next_id++;
        generation->set_id(id);
        state.waiting.push(std::move(generation), client, background);
    }
    state.wake.notify_all();
    return id;
}

void Engine::cancel(RequestId id) {
    {
        const std::lock_guard lock(state_->mutex);
        if (id == 0 || id >= state_->next_id) return;
        state_->cancelled.insert(id);
    }
    state_->wake.notify_all();
}

const ModelInfo& Engine::model() const { return state_->info; }
const Memory& Engine::memory() const { return state_->memory; }
std::string Engine::memory_table() const { return state_->plan.table(state_->device->memory().total); }
const Options& Engine::options() const { return state_->options; }
std::string_view Engine::device_name() const { return state_->device->name(); }
const text::Tokenizer& Engine::tokenizer() const { return *state_->tokenizer; }
text::TokenTrie::Pointer Engine::token_trie() const {
    State& state = *state_;
    std::call_once(state.token_trie_once, [&] { state.token_trie = text::TokenTrie::build(*state.tokenizer); });
    return state.token_trie;
}
const text::ChatTemplate* Engine::chat_template() const {
    return state_->chat_template ? &*state_->chat_template : nullptr;
}
std::string_view Engine::chat_template_source() const { return state_->chat_template_source; }

std::optional<Error> Engine::failure() const {
    const std::lock_guard lock(state_->mutex);
    return state_->failure;
}

Stats Engine::stats() const {
    const std::lock_guard lock(state_->mutex);
    Stats stats = state_->stats;
    stats.waiting = state_->waiting.size();
    return stats;
}

} // namespace lucebox::engine
