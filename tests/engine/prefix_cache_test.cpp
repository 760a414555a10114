// The engine over small models: what is kept between requests, and answers that are held to a form.
#include "engine_fixture.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace lucebox::engine {
namespace {

struct Answer {
    std::vector<TokenId> tokens;
    std::vector<float> logprobs;
    std::string text;
    Finished finished;
};

struct Kept {
    const char* model;
    std::optional<compute::DType> kv_type = {}; // none: the model's own
};
void PrintTo(const Kept& kept, std::ostream* out) { *out << kept.model; }

class Prefixes : public testing::TestWithParam<Kept> {
protected:
    static std::unique_ptr<Engine> load(bool reuse, const char* model = nullptr, std::size_t context = 256, std::size_t border = 0,
                                        compute::DeviceOptions device = {compute::DeviceChoice::cpu, 2, false, 0}) {
        Options options;
        options.model = std::string("tests/data/oracle/") + (model ? model : GetParam().model) + "/model.gguf";
        options.context = context;
        options.sequences = 2;
        options.device = device;
        options.reuse_prefixes = reuse;
        options.prompt_border = border;
        options.kv_type = GetParam().kv_type;
        auto engine = Engine::load(options);
        EXPECT_TRUE(engine) << engine.error().message;
        return std::move(*engine);
    }
    static Answer run(Engine& engine, Request request) {
        std::mutex mutex;
        std::condition_variable done;
        bool finished = false;
        Answer answer;
        const auto id = engine.submit(std::move(request), [&](Event&& event) {
            const std::lock_guard lock(mutex);
            if (auto* generated = std::get_if<Generated>(&event)) {
                answer.tokens.push_back(generated->sample.token);
                answer.logprobs.push_back(generated->sample.logprob);
                answer.text += generated->text;
            }
            if (auto* end = std::get_if<Finished>(&event)) {
                answer.text += end->text;
                answer.finished = std::move(*end);
                finished = true;
                done.notify_all();
            }
        });
        EXPECT_TRUE(id) << id.error().message;
        std::unique_lock lock(mutex);
        done.wait(lock, [&] { return finished; });
        return answer;
    }
    // An answer's last event comes a moment before its sequence is put away.
    static Stats settled(const Engine& engine) {
        while (engine.stats().running > 0) std::this_thread::yield();
        return engine.stats();
    }
    void converse_where_long_pieces_differ(compute::DeviceOptions device);
    static Request request(std::vector<TokenId> prompt, std::size_t most = 12) {
        Request made;
        made.prompt = std::move(prompt);
        made.max_tokens = most;
        made.ignore_end = true;
        made.logprobs = true;
        made.sampling.temperature = 0.9f;
        made.sampling.seed = 5;
        return made;
    }
    static std::vector<TokenId> words(std::size_t count, TokenId first) {
        std::vector<TokenId> ids;
        for (std::size_t i = 0; i < count; ++i) ids.push_back(10 + (first + static_cast<TokenId>(i) * 7) % 80);
        return ids;
    }
    static std::vector<TokenId> joined(std::vector<TokenId> a, const std::vector<TokenId>& b) {
        a.insert(a.end(), b.begin(), b.end());
        return a;
    }
};

TEST_P(Prefixes, ASecondTurnGivesTheColdRunsBitsFromWhatIsKept) {
    const auto warm = load(true), cold = load(false);
    const auto opening = words(50, 3);
    const auto first = run(*warm, request(opening));
    EXPECT_EQ(first.finished.cached_tokens, 0u);
    const auto second = joined(joined(opening, first.tokens), words(20, 9));
    const auto again = run(*warm, request(second)), expected = run(*cold, request(second));
    EXPECT_EQ(again.finished.cached_tokens, opening.size() + first.tokens.size() - 1); // the last token was never read
    EXPECT_EQ(expected.finished.cached_tokens, 0u);
    EXPECT_EQ(again.tokens, expected.tokens);
    EXPECT_EQ(again.logprobs, expected.logprobs);
    EXPECT_EQ(settled(*warm).prefix_hits, 1u);
    EXPECT_EQ(settled(*cold).prefix_hits, 0u);
}

TEST_P(Prefixes, AnAnswerThatWasChangedKeepsItsBeginning) {
    const auto warm = load(true), cold = load(false);
    const auto opening = words(50, 3);
    static_cast<void>(run(*warm, request(opening)));
    const auto edited = joined(opening, words(20, 40));
    const auto again = run(*warm, request(edited)), expected = run(*cold, request(edited));
    EXPECT_EQ(again.finished.cached_tokens, opening.size()); // recurrent layers hold no past, but were written down here
    EXPECT_EQ(again.logprobs, expected.logprobs);
    // The same prompt once more: all but its last token.
    EXPECT_EQ(run(*warm, request(edited)).logprobs, expected.logprobs);
}

TEST_P(Prefixes, ALongPromptThatChangesGoesOnFromTheBorderOfAPiece) {
    const auto warm = load(true, nullptr, 2048), cold = load(false, nullptr, 2048);
    const auto prompt = words(1700, 3); // seven pieces, of which four are kept
    static_cast<void>(run(*warm, request(prompt)));
    for (const std::size_t common : {std::size_t{1699}, std::size_t{1500}, std::size_t{900}, std::size_t{300}}) {
        auto changed = prompt;
        changed.resize(common);
        changed = joined(changed, words(30, static_cast<TokenId>(common % 50 + 20)));
        const auto again = run(*warm, request(changed, 4)), expected = run(*cold, request(changed, 4));
        EXPECT_EQ(again.logprobs, expected.logprobs) << common;
        EXPECT_EQ(again.tokens, expected.tokens) << common;
        if (common != 1699) continue;
        EXPECT_GE(again.finished.cached_tokens, std::string(GetParam().model) == "qwen35" ? 1536u : 1699u);
    }
}

// As on a device with an arithmetic of its own for long pieces: answers are not kept, and cuts lie at the same places.
void Prefixes::converse_where_long_pieces_differ(compute::DeviceOptions device) {
    constexpr std::size_t border = 256;
    const auto warm = load(true, nullptr, 2048, border, device), cold = load(false, nullptr, 2048, border, device);
    const bool recurrent = std::string(GetParam().model) == "qwen35";
    auto talk = words(700, 3);
    std::size_t before = 0;
    for (int turn = 0; turn < 4; ++turn) {
        const auto answer = run(*warm, request(talk)), expected = run(*cold, request(talk));
        EXPECT_EQ(answer.tokens, expected.tokens);
        EXPECT_EQ(answer.logprobs, expected.logprobs);
        const std::size_t cached = answer.finished.cached_tokens;
        if (turn == 0) EXPECT_EQ(cached, 0u);
        else if (recurrent) EXPECT_EQ(cached, (before - 1) / border * border);
        else EXPECT_TRUE(cached % 64 == 0 && cached + 128 > before && cached <= before) << cached << " of " << before;
        before = talk.size();
        talk = joined(joined(talk, answer.tokens), words(190, static_cast<TokenId>(turn)));
    }
}

TEST_P(Prefixes, WhereLongPiecesDifferAConversationGoesOnFromItsPromptsLastPlaceThatFits) {
    converse_where_long_pieces_differ({compute::DeviceChoice::cpu, 2, false, 0});
}

using CudaPrefixes = Prefixes;
TEST_P(CudaPrefixes, AConversationGoesOnFromItsPromptsLastPlaceThatFits) {
    if (!gpu_is_here()) GTEST_SKIP() << "skipped: no GPU";
    converse_where_long_pieces_differ({compute::DeviceChoice::cuda, 0, false, 0});
}

TEST_P(Prefixes, WhereLongPiecesDifferPromptsSideBySideAreStillKept) {
    const auto warm = load(true, nullptr, 1024, 256);
    std::mutex mutex;
    std::condition_variable done;
    std::size_t finished = 0;
    for (const TokenId first : {3, 40}) {
        const auto id = warm->submit(request(words(600, first), 1), [&](Event&& event) {
            if (!std::holds_alternative<Finished>(event)) return;
            const std::lock_guard lock(mutex);
            ++finished;
            done.notify_all();
        });
        ASSERT_TRUE(id);
    }
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return finished == 2; });
    lock.unlock();
    for (const TokenId first : {3, 40}) {
        const auto again = run(*warm, request(joined(words(600, first), words(100, 60)), 1));
        EXPECT_GE(again.finished.cached_tokens, 512u);
    }
}

TEST_P(Prefixes, WhoeverSharesAnOpeningOnlyDoesNotCutOffAConversation) {
    const auto engine = load(true);
    const auto opening = words(12, 40);
    const auto old = words(60, 1), talk = joined(opening, words(60, 5)); // the opening is the younger one's
    static_cast<void>(run(*engine, request(old)));
    const auto answer = run(*engine, request(talk));
    static_cast<void>(settled(*engine));
    static_cast<void>(run(*engine, request(joined(opening, words(20, 77)))));
    static_cast<void>(settled(*engine));
    EXPECT_GE(run(*engine, request(joined(joined(talk, answer.tokens), words(5, 3)))).finished.cached_tokens, talk.size());
}

TEST_P(Prefixes, WhatATaskBesideTheConversationLeftMakesRoomFirst) {
    const auto engine = load(true);
    const auto talk = words(60, 1);
    const auto answer = run(*engine, request(talk));
    static_cast<void>(settled(*engine));
    for (const TokenId first : {50, 60, 70}) {
        Request task = request(words(30, first));
        task.background = true;
        static_cast<void>(run(*engine, std::move(task)));
        static_cast<void>(settled(*engine));
    }
    const auto other = words(30, 77);
    static_cast<void>(run(*engine, request(other)));
    static_cast<void>(settled(*engine));
    EXPECT_GE(run(*engine, request(joined(joined(talk, answer.tokens), words(5, 3)))).finished.cached_tokens, talk.size());
}

TEST_P(Prefixes, ConversationsSideBySideKeepWhatIsTheirs) {
    const auto warm = load(true), cold = load(false);
    std::vector<TokenId> talks[2] = {words(40, 1), words(40, 2)};
    for (int turn = 0; turn < 3; ++turn) {
        for (auto& talk : talks) {
            const auto answer = run(*warm, request(talk));
            EXPECT_EQ(answer.logprobs, run(*cold, request(talk)).logprobs);
            EXPECT_EQ(answer.finished.cached_tokens > 0, turn > 0);
            talk = joined(joined(talk, answer.tokens), words(5, static_cast<TokenId>(turn)));
        }
    }
    EXPECT_EQ(settled(*warm).resting, 2u);
    static_cast<void>(run(*warm, request(words(30, 77)))); // a third one takes the oldest's place
    EXPECT_EQ(settled(*warm).resting, 2u);
    EXPECT_EQ(run(*warm, request(talks[1])).finished.cached_tokens > 0, true);
    EXPECT_EQ(run(*warm, request(talks[0])).finished.cached_tokens, 0u);
}

TEST_P(Prefixes, AGrammarHoldsAndChangesNothingThatWasValid) {
    const auto engine = load(false);
    Request free = request(words(20, 4), 24);
    free.sampling.temperature = 1.5f;
    const auto freely = run(*engine, free);
    Request digits = free;
    digits.grammar = *text::Grammar::from_gbnf("root ::= [0-9]{5}");
    const auto held = run(*engine, digits);
    ASSERT_EQ(held.finished.reason, FinishReason::stop) << (held.finished.error ? held.finished.error->message : "");
    EXPECT_EQ(held.text.size(), 5u);
    EXPECT_EQ(held.text.find_first_not_of("0123456789"), std::string::npos) << held.text;
    // A text that is what would come anyway, as the only one that is allowed.
    Request only = free;
    std::string literal;
    for (const char c : freely.text) literal += c == '"' || c == '\\' ? std::string("\\") + c : c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : std::string(1, c);
    if (freely.text.find("\xEF\xBF\xBD") == std::string::npos && freely.text.find('\0') == std::string::npos) {
        only.grammar = *text::Grammar::from_gbnf("root ::= \"" + literal + "\" .*");
        const auto same = run(*engine, only);
        EXPECT_EQ(same.tokens, freely.tokens);
    }
}

INSTANTIATE_TEST_SUITE_P(Models, Prefixes, testing::Values(Kept{"llama"}, Kept{"qwen35"}, Kept{"gemma3"}, Kept{"llama", compute::DType::q8_0}),
                         [](const auto& named) { return std::string(named.param.model) + (named.param.kv_type ? "_q8_0" : ""); });
INSTANTIATE_TEST_SUITE_P(Models, CudaPrefixes, testing::Values(Kept{"llama"}, Kept{"qwen35"}, Kept{"gemma3"}),
                         [](const auto& named) { return std::string(named.param.model); });

} // namespace
} // namespace lucebox::engine
