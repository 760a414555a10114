// Speculation inside the engine: requests that share steps, in any mix of settings, get the text that each gets alone and
// without speculation.
#include "engine_fixture.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace lucebox::engine {
namespace {

const std::filesystem::path folder = "tests/data/oracle/dflash-qwen3";

struct Answer {
    std::vector<TokenId> tokens;
    std::vector<float> logprobs;
    std::string text;
    std::uint64_t guessed = 0; // tokens that were said to be
    Finished finished;
};

class Client {
public:
    explicit Client(const Options& options) {
        auto loaded = Engine::load(options);
        if (!loaded) throw std::runtime_error(loaded.error().message);
        engine_ = std::move(*loaded);
    }

    // All at once; in their order.
    std::vector<Answer> ask(const std::vector<Request>& requests) {
        std::vector<Answer> answers(requests.size());
        std::size_t left = requests.size();
        for (std::size_t i = 0; i < requests.size(); ++i) {
            const auto id = engine_->submit(requests[i], [&, i](Event&& event) {
                if (auto* generated = std::get_if<Generated>(&event)) {
                    answers[i].tokens.push_back(generated->sample.token);
                    answers[i].logprobs.push_back(generated->sample.logprob);
                    answers[i].text += generated->text;
                    answers[i].guessed += generated->guessed ? 1u : 0u;
                }
                auto* finished = std::get_if<Finished>(&event);
                if (!finished) return;
                answers[i].text += finished->text;
                answers[i].finished = std::move(*finished);
                const std::lock_guard lock(mutex_);
                --left;
                done_.notify_all();
            });
            EXPECT_TRUE(id) << (id ? "" : id.error().message);
        }
        std::unique_lock lock(mutex_);
        done_.wait(lock, [&] { return left == 0; });
        return answers;
    }
    // A request is counted just behind its last event.
    Stats stats_of(std::uint64_t finished) const {
        for (int i = 0; i < 500 && engine_->stats().requests_finished < finished; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        return engine_->stats();
    }

private:
    std::mutex mutex_;
    std::condition_variable done_;
    std::unique_ptr<Engine> engine_;
};

Options options(const char* speculation, bool draft) {
    Options out;
    out.model = folder / "model.gguf";
    out.sequences = 4;
    out.device.threads = 2;
    out.context = 256;
    if (draft) out.draft = folder / "draft.gguf";
    out.speculation = *decode::parse_speculation(speculation);
    return out;
}

std::vector<Request> requests() {
    std::vector<Request> all(4);
    for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t j = 0; j < 14 + 40 * i; ++j) all[i].prompt.push_back(static_cast<TokenId>((j % 9 * 31 + i * 17) % 256));
        all[i].max_tokens = 50 + 7 * i;
        all[i].ignore_end = i != 3;
        all[i].logprobs = true;
        all[i].sampling.seed = 11 + i;
    }
    all[0].sampling.temperature = 0;
    all[1].sampling.temperature = 0.7f;
    all[1].sampling.top_p = 0.9f;
    all[1].sampling.frequency_penalty = 0.4f;
    all[2].sampling.temperature = 1.3f;
    all[2].sampling.top_k = 12;
    all[2].sampling.repetition_penalty = 1.1f;
    all[3].sampling.temperature = 0.7f;
    all[3].sampling.min_p = 0.1f;
    return all;
}

void expect_same(const Answer& got, const Answer& expected, const std::string& where) {
    EXPECT_EQ(got.tokens, expected.tokens) << where;
    EXPECT_EQ(got.logprobs, expected.logprobs) << where;
    EXPECT_EQ(got.text, expected.text) << where;
    EXPECT_EQ(got.finished.reason, expected.finished.reason) << where;
    EXPECT_EQ(got.finished.generated_tokens, expected.finished.generated_tokens) << where;
    EXPECT_EQ(got.finished.stop_string, expected.finished.stop_string) << where;
}

TEST(EngineSpeculation, FourUsersAtOnceGetTheTextOfEachAlone) {
    std::vector<Answer> expected;
    {
        Client plain(options("off", false));
        for (const Request& request : requests()) expected.push_back(plain.ask({request})[0]);
    }
    for (const char* shape : {"auto", "chain:7", "tree:1", "tree:22", "tree:63"}) {
        for (const bool draft : {true, false}) {
            Client client(options(shape, draft));
            const auto got = client.ask(requests());
            std::uint64_t drafted = 0;
            for (std::size_t i = 0; i < got.size(); ++i) {
                expect_same(got[i], expected[i], std::string(shape) + (draft ? " with a draft, request " : " by lookup, request ") + std::to_string(i));
                drafted += got[i].finished.speculation.drafted;
                EXPECT_LE(got[i].finished.speculation.accepted, got[i].finished.speculation.drafted);
                EXPECT_EQ(got[i].guessed, got[i].finished.speculation.accepted);
            }
            EXPECT_TRUE(drafted > 0 || std::string_view(shape) == "auto") << shape;
            const Stats stats = client.stats_of(4);
            EXPECT_EQ(stats.requests_finished, 4u);
            EXPECT_EQ(stats.speculation.drafted, drafted);
        }
    }
}

TEST(EngineSpeculation, ADraftThatGuessesAmongAFewTokensOnlyChangesNothingElse) {
    Options few = options("tree:22", true);
    few.draft_head = 64;
    Client plain(options("off", false)), whole(options("tree:22", true)), part(few);
    const auto expected = plain.ask(requests()), with_all = whole.ask(requests()), got = part.ask(requests());
    std::uint64_t accepted = 0, accepted_of_all = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        expect_same(got[i], expected[i], "request " + std::to_string(i));
        accepted += got[i].finished.speculation.accepted;
        accepted_of_all += with_all[i].finished.speculation.accepted;
    }
    EXPECT_GT(accepted, 0u);
    EXPECT_LT(accepted, accepted_of_all); // it does leave tokens out
}

TEST(EngineSpeculation, TextThatIsHeldToAFormIsTheSameAsWithoutGuesses) {
    // Forms that leave much open, little, and nothing for a while: guesses are right, wrong and forbidden.
    const char* const forms[] = {"root ::= ([a-z ]{3} [0-9]{2} \"same words again and again, \")*", "root ::= ([0-9] | [a-f])*", "root ::= [^a-m]*"};
    std::vector<Request> all;
    for (const char* form : forms) {
        for (const float temperature : {0.0F, 0.9F}) {
            Request request = requests()[all.size() % 4];
            auto grammar = text::Grammar::from_gbnf(form);
            ASSERT_TRUE(grammar) << grammar.error().message;
            request.grammar = *grammar;
            request.sampling.temperature = temperature;
            request.ignore_end = false;
            all.push_back(std::move(request));
        }
    }
    Client plain(options("off", false));
    const auto expected = plain.ask(all);
    for (const auto& [speculation, draft] : {std::pair{"chain:7", false}, {"auto", true}, {"tree:22", true}}) {
        Client client(options(speculation, draft));
        const auto got = client.ask(all);
        std::uint64_t drafted = 0;
        for (std::size_t i = 0; i < all.size(); ++i) {
            expect_same(got[i], expected[i], std::string(speculation) + " " + std::to_string(i));
            drafted += got[i].finished.speculation.drafted;
        }
        EXPECT_TRUE(drafted > 0 || std::string_view(speculation) == "auto") << speculation;
    }
}

// Who asks for log-probabilities gets them from whole rows of logits, on the host; who does not leaves the rows where they
// are, and grammars become masks there.
void expect_the_same_text_with_and_without_rows(compute::DeviceOptions device) {
    const char* const forms[] = {"", "root ::= ([a-z ]{3} [0-9]{2} \"same words again and again, \")*", "root ::= ([0-9] | [a-f])*"};
    std::vector<Request> with_rows, without;
    for (const char* form : forms) {
        for (std::size_t i = 0; i < 6; ++i) {
            Request request = requests()[i % 4];
            request.sampling = {};
            request.sampling.seed = i;
            request.sampling.temperature = i == 0 ? 0 : 0.9f;
            request.sampling.top_k = i == 2 || i == 3 ? 20 : 0;
            request.sampling.top_p = i >= 3 ? 0.9f : 1;
            request.sampling.min_p = i == 5 ? 0.05f : 0;
            request.ignore_end = false;
            if (*form != 0) request.grammar = *text::Grammar::from_gbnf(form);
            with_rows.push_back(request);
            request.logprobs = false;
            without.push_back(std::move(request));
        }
    }
    std::vector<Answer> expected;
    for (const auto& [speculation, draft] : {std::pair{"off", false}, {"chain:7", false}, {"auto", true}, {"tree:22", true}}) {
        Options chosen = options(speculation, draft);
        chosen.device = device;
        Client client(chosen);
        if (expected.empty()) expected = client.ask(with_rows);
        const auto got = client.ask(without);
        for (std::size_t i = 0; i < got.size(); ++i) {
            EXPECT_EQ(got[i].tokens, expected[i].tokens) << speculation << ", request " << i;
            EXPECT_EQ(got[i].text, expected[i].text) << speculation << ", request " << i;
            EXPECT_EQ(got[i].finished.reason, expected[i].finished.reason) << speculation << ", request " << i;
        }
    }
}

TEST(EngineRows, TextIsTheSameWhereverItsRowsAndMasksAre) {
    expect_the_same_text_with_and_without_rows({compute::DeviceChoice::cpu, 2, false, 0});
}

TEST(CudaEngineRows, TextIsTheSameWhereverItsRowsAndMasksAre) {
    if (!gpu_is_here()) GTEST_SKIP() << "skipped: no GPU";
    expect_the_same_text_with_and_without_rows({compute::DeviceChoice::cuda, 0, false, 0});
}

TEST(EngineSpeculation, AThoughtEndsAtTheSameTokenAsWithoutGuesses) {
    const std::vector<TokenId> closing{40, 41, 42};
    std::vector<Request> all;
    for (const std::size_t budget : {0u, 1u, 13u, 30u}) {
        for (const float soft : {0.0F, 0.02F}) {
            Request request = requests()[all.size() % 4];
            request.reasoning = Reasoning{"</think>", budget, closing, soft};
            if (all.size() % 3 == 1) request.grammar = *text::Grammar::from_gbnf("root ::= [0-9]{4} \"and so on, \" [a-f]*");
            all.push_back(std::move(request));
        }
    }
    Client plain(options("off", false));
    const auto expected = plain.ask(all);
    std::size_t hard = 0, soft = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const Finished& finished = expected[i].finished;
        ASSERT_LE(finished.reasoning_tokens, *all[i].reasoning->budget + closing.size());
        (finished.reasoning_close == ReasoningClose::hard ? hard : soft) += 1;
        if (finished.reasoning_close == ReasoningClose::hard) {
            EXPECT_EQ(finished.reasoning_tokens, *all[i].reasoning->budget + closing.size());
        }
    }
    EXPECT_GT(hard, 0u);
    EXPECT_GT(soft, 0u);
    for (const auto& [speculation, draft] : {std::pair{"chain:7", false}, {"auto", true}, {"tree:22", true}}) {
        Client client(options(speculation, draft));
        const auto got = client.ask(all);
        for (std::size_t i = 0; i < all.size(); ++i) {
            expect_same(got[i], expected[i], std::string(speculation) + " " + std::to_string(i));
            EXPECT_EQ(got[i].finished.reasoning_tokens, expected[i].finished.reasoning_tokens);
            EXPECT_EQ(got[i].finished.reasoning_close, expected[i].finished.reasoning_close);
        }
    }
}

TEST(EngineSpeculation, StopStringsAndLimitsEndTheTextAtTheSamePlace) {
    Request request = requests()[0];
    Client plain(options("off", false));
    const Answer whole = plain.ask({request})[0];
    ASSERT_GT(whole.text.size(), 20u);
    Client client(options("tree:32", true));
    for (std::size_t max_tokens : {0, 1, 2, 9, 30}) {
        request.max_tokens = max_tokens;
        expect_same(client.ask({request})[0], plain.ask({request})[0], "max_tokens " + std::to_string(max_tokens));
    }
    request.max_tokens = 200; // the context ends first
    request.stop = {whole.text.substr(whole.text.size() / 2, 3)};
    const Answer stopped = plain.ask({request})[0];
    ASSERT_EQ(stopped.finished.reason, FinishReason::stop);
    expect_same(client.ask({request})[0], stopped, "stop string");
    request.stop.clear();
    request.max_tokens = SIZE_MAX;
    const Answer full = plain.ask({request})[0];
    ASSERT_EQ(full.finished.reason, FinishReason::length);
    expect_same(client.ask({request})[0], full, "whole context");
}

TEST(EngineSpeculation, ASecondTurnGoesOnFromTheFirstWithItsDraft) {
    Request first = requests()[2];
    Client plain(options("off", false)), client(options("tree:22", true));
    Request second = first;
    second.prompt.insert(second.prompt.end(), {1, 2, 3, 4, 5});
    second.sampling.seed = 99;
    for (const Request& request : {first, second, first}) {
        const Answer expected = plain.ask({request})[0], got = client.ask({request})[0];
        expect_same(got, expected, "with a prefix of " + std::to_string(got.finished.cached_tokens));
        EXPECT_EQ(got.finished.cached_tokens, expected.finished.cached_tokens);
        EXPECT_GT(got.finished.speculation.drafted, 0u);
    }
    EXPECT_GT(client.ask({first})[0].finished.cached_tokens, 0u);
}

TEST(EngineSpeculation, ADraftOfAnotherModelIsRefused) {
    Options wrong = options("auto", false);
    wrong.draft = "tests/data/oracle/dflash-qwen35/draft.gguf";
    const auto loaded = Engine::load(wrong);
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().message, "the draft has a vocabulary of 288, the model of 304");
}

} // namespace
} // namespace lucebox::engine
