// A tokenizer and an engine whose every move a test decides.
#pragma once

#include "server/api/backend.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace lucebox::server {

// Ids 0..255 are bytes; then the words below, longest match first. Encoding "ab" as one token shows whether text was
// encoded in one piece.
class FakeTokenizer final : public text::Tokenizer {
public:
    struct Word {
        std::string name;
        text::TokenKind kind;
    };
    static constexpr text::TokenId kStart = 256, kEnd = 257, kBos = 258, kThink = 259, kAb = 260, kReserved = 261, kPrefix = 262, kSuffix = 263, kMiddle = 264;

    std::vector<text::TokenId> encode(std::string_view text, text::EncodeOptions options) const override {
        std::vector<text::TokenId> ids;
        if (options.add_special && with_bos) ids.push_back(kBos);
        while (!text.empty()) {
            text::TokenId best = static_cast<unsigned char>(text[0]);
            std::size_t size = 1;
            for (std::size_t i = 0; i < words_.size(); ++i) {
                const auto& [name, kind] = words_[i];
                if (kind == text::TokenKind::control && !options.parse_special) continue;
                if (name.size() <= size || !text.starts_with(name)) continue;
                best = static_cast<text::TokenId>(256 + i);
                size = name.size();
            }
            ids.push_back(best);
            text.remove_prefix(size);
        }
        return ids;
    }
    std::string token_bytes(text::TokenId id, bool render_special) const override {
        if (id < 256) return std::string(1, static_cast<char>(id));
        const auto& word = words_[static_cast<std::size_t>(id - 256)];
        return word.kind == text::TokenKind::control && !render_special ? "" : word.name;
    }
    std::string decode(std::span<const text::TokenId> ids, bool render_special) const override {
        std::string text;
        for (const auto id : ids)
            text += token_bytes(id, render_special);
        return text;
    }
    text::TokenKind kind(text::TokenId id) const override {
        return id < 256 ? text::TokenKind::byte : words_[static_cast<std::size_t>(id - 256)].kind;
    }
    std::int32_t vocabulary_size() const override { return static_cast<std::int32_t>(256 + words_.size()); }
    text::TokenId find(std::string_view name) const override {
        for (std::size_t i = 0; with_fill_in && i < words_.size(); ++i)
            if (words_[i].name == name) return static_cast<text::TokenId>(256 + i);
        return -1;
    }
    text::TokenId bos() const override { return with_bos ? kBos : -1; }
    text::TokenId eos() const override { return kEnd; }
    bool adds_bos() const override { return with_bos; }
    std::span<const text::TokenId> end_of_generation() const override { return end_; }

    bool with_bos = false, with_fill_in = false;

private:
    std::vector<Word> words_{{"<|im_start|>", text::TokenKind::control},
                             {"<|im_end|>", text::TokenKind::control},
                             {"<s>", text::TokenKind::control},
                             {"</think>", text::TokenKind::user_defined},
                             {"ab", text::TokenKind::normal},
                             {"<|im_end|>x", text::TokenKind::control},
                             {"<|fim_prefix|>", text::TokenKind::control},
                             {"<|fim_suffix|>", text::TokenKind::control},
                             {"<|fim_middle|>", text::TokenKind::control}};
    std::vector<text::TokenId> end_{kEnd};
};

class FakeBackend final : public Backend {
public:
    struct Submission {
        engine::RequestId id = 0;
        engine::Request request;
        engine::OnEvent on_event;

        void token(text::TokenId id_of_token, std::string text, float logprob = 0) {
            decode::Sample sample{id_of_token, logprob, {}};
            on_event(engine::Generated{std::move(sample), std::move(text)});
        }
        void say(const std::string& text) { // a token for each byte, all bytes shown by the last one
            for (std::size_t i = 0; i < text.size(); ++i)
                token(static_cast<unsigned char>(text[i]), i + 1 < text.size() ? "" : text);
        }
        engine::Finished finished(std::size_t generated,
                                  engine::FinishReason reason = engine::FinishReason::stop) const {
            engine::Finished end;
            end.reason = reason;
            end.prompt_tokens = request.prompt.size();
            end.generated_tokens = generated;
            end.timings = {0, 0.5, 2};
            return end;
        }
        void finish(std::size_t generated, engine::FinishReason reason = engine::FinishReason::stop) {
            on_event(finished(generated, reason));
        }
    };
    using Script = std::function<void(Submission&)>;

    FakeBackend() : thread_([this] { run(); }) {
        info.name = "fake-model";
        info.architecture = "fake";
        info.quantisation = "Q4_1";
        info.path = "/models/fake.gguf";
        info.file_bytes = 1234;
        info.parameters = 99;
        info.vocabulary = 265;
        info.trained_context = 4096;
        info.context = 1000;
    }
    ~FakeBackend() override {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        thread_.join();
    }

    Result<engine::RequestId> submit(engine::Request request, engine::OnEvent on_event) override {
        const std::lock_guard lock(mutex_);
        if (accept == 0) return Error{ErrorKind::unavailable, "full"};
        --accept;
        auto submission = std::make_shared<Submission>(Submission{next_id_++, std::move(request), std::move(on_event)});
        all_.push_back(submission);
        if (script) {
            queue_.push_back(submission);
            wake_.notify_all();
        }
        return submission->id;
    }
    void cancel(engine::RequestId id) override {
        const std::lock_guard lock(mutex_);
        cancelled_.push_back(id);
    }
    const engine::ModelInfo& model() const override { return info; }
    const engine::Options& options() const override { return options_; }
    const engine::Memory& memory() const override { return memory_; }
    std::string_view device_name() const override { return "Fake CPU"; }
    engine::Stats stats() const override {
        engine::Stats stats;
        stats.waiting = 3;
        stats.generated_tokens = generated;
        return stats;
    }
    std::optional<Error> failure() const override { return device_failure; }
    const text::Tokenizer& tokenizer() const override { return words; }
    bool has_chat_template() const override { return render != nullptr; }
    std::string_view chat_template_source() const override { return template_source; }
    Result<std::string> render_chat(const text::Json& variables) const override { return render(variables); }

    std::size_t submitted() const {
        const std::lock_guard lock(mutex_);
        return all_.size();
    }
    Submission& at(std::size_t index) const {
        const std::lock_guard lock(mutex_);
        return *all_.at(index);
    }
    std::vector<engine::RequestId> cancelled() const {
        const std::lock_guard lock(mutex_);
        return cancelled_;
    }
    void forget() { // as an engine does behind Finished
        const std::lock_guard lock(mutex_);
        all_.clear();
    }

    // ChatML, with the content trimmed as many templates do.
    static Result<std::string> chatml(const text::Json& variables) {
        std::string text;
        for (const auto& message : variables["messages"]) {
            std::string content = message["content"];
            content.erase(0, std::min(content.find_first_not_of(" \n"), content.size()));
            content.erase(content.find_last_not_of(" \n") + 1);
            text += "<|im_start|>" + message["role"].get<std::string>() + "\n" + content + "<|im_end|>\n";
        }
        if (variables["add_generation_prompt"]) text += "<|im_start|>assistant\n";
        return text;
    }

    // Set before the first request.
    std::optional<Error> device_failure;
    std::atomic<std::uint64_t> generated{0}; // tokens, as stats() says
    engine::ModelInfo info;
    FakeTokenizer words;
    std::string template_source = "chatml";
    std::function<Result<std::string>(const text::Json&)> render = chatml;
    Script script;             // runs on the backend's thread; empty: the test sends the events
    std::size_t accept = 1000; // submissions before the queue is full

private:
    void run() {
        for (;;) {
            std::shared_ptr<Submission> next;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
                if (stop_) return;
                next = queue_.front();
                queue_.pop_front();
            }
            script(*next);
        }
    }

    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<Submission>> queue_;
    std::vector<std::shared_ptr<Submission>> all_;
    std::vector<engine::RequestId> cancelled_;
    engine::RequestId next_id_ = 1;
    bool stop_ = false;
    engine::Options options_;
    engine::Memory memory_;
    std::thread thread_;
};

} // namespace lucebox::server
