// Requests beside each other: they share steps, do not see one another, and end when they should.
#include "engine_fixture.h"

#include <array>

namespace lucebox::engine {
namespace {

struct Shared {
    const char* model;
    compute::DeviceChoice device = compute::DeviceChoice::cpu;
    std::size_t border = 0; // Options::prompt_border
};
void PrintTo(const Shared& shared, std::ostream* out) { *out << shared.model; }

class Sharing : public EngineTest, public ::testing::WithParamInterface<Shared> {
protected:
    void SetUp() override {
        if (GetParam().device == compute::DeviceChoice::cuda && !gpu_is_here()) GTEST_SKIP() << "skipped: no GPU";
        prompt = reference_tokens("prompt", GetParam().model);
        Options options;
        options.model = model_path(GetParam().model);
        options.sequences = 3;
        options.device.choice = GetParam().device;
        options.prompt_border = GetParam().border;
        load(options);
    }
};

TEST_P(Sharing, AnAnswerIsTheSameBitForBitWhateverRunsBesideIt) {
    Request ours = request(40, 1.0f, 77);
    ours.logprobs = true;
    ours.top_logprobs = 3;
    Client alone;
    submit(ours, alone);
    alone.wait();

    // Companions of other prompts, lengths and settings, twice as many as there are sequences, around ours.
    Gate gate;
    Client blocker(gate.hook());
    submit(request(1), blocker);
    gate.wait_until_reached();
    std::array<Client, 6> others;
    Client beside;
    for (std::size_t i = 0; i < others.size(); ++i) {
        if (i == 1) submit(ours, beside);
        Request other = request(10 + 13 * i, 0.3f * static_cast<float>(i), i);
        other.prompt.resize(1 + prompt.size() * i / others.size());
        for (TokenId& token : other.prompt) token = (token + static_cast<TokenId>(7 * i)) % 256;
        submit(std::move(other), others[i]);
    }
    gate.open();
    beside.wait();
    for (Client& other : others) EXPECT_EQ(other.wait().reason, FinishReason::length);
    blocker.wait();

    ASSERT_EQ(beside.tokens(), alone.tokens());
    EXPECT_EQ(beside.text(), alone.text());
    for (std::size_t i = 0; i < alone.samples().size(); ++i) {
        const auto &a = alone.samples()[i], &b = beside.samples()[i];
        EXPECT_EQ(a.logprob, b.logprob);
        ASSERT_EQ(a.top.size(), b.top.size());
        for (std::size_t j = 0; j < a.top.size(); ++j) EXPECT_EQ(a.top[j].logprob, b.top[j].logprob);
    }
}

// With a border prompts are cut as on a GPU, where long pieces are an arithmetic of their own.
INSTANTIATE_TEST_SUITE_P(All, Sharing,
                         ::testing::Values(Shared{"llama"}, Shared{"gemma3"}, Shared{"qwen35"}, Shared{"llama", compute::DeviceChoice::cpu, 128},
                                           Shared{"qwen35", compute::DeviceChoice::cpu, 128}, Shared{"llama", compute::DeviceChoice::cuda},
                                           Shared{"gemma3", compute::DeviceChoice::cuda}, Shared{"qwen35", compute::DeviceChoice::cuda}),
                         [](const auto& of) {
                             return std::string(of.param.model) + (of.param.device == compute::DeviceChoice::cuda ? "_cuda" : of.param.border > 0 ? "_border"
                                                                                                                                                  : "");
                         });

class Scheduling : public EngineTest {
protected:
    void load_with(std::size_t sequences, std::size_t queue = 64) {
        Options options;
        options.sequences = sequences;
        options.queue = queue;
        load(options);
    }
    // The counters are written behind the last event of a step: wait for them.
    bool eventually(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return true;
    }
};

TEST_F(Scheduling, SequencesShareSteps) {
    load_with(3);
    Gate gate;
    std::array<Client, 3> clients{Client(gate.hook()), Client(), Client()};
    submit(request(100), clients[0]);
    gate.wait_until_reached();
    submit(request(100), clients[1]);
    submit(request(100), clients[2]);
    gate.open();
    for (Client& client : clients) EXPECT_EQ(client.wait().generated_tokens, 100u);
    ASSERT_TRUE(eventually([&] { return engine->stats().requests_finished == 3; }));
    const Stats stats = engine->stats();
    EXPECT_EQ(stats.generated_tokens, 300u);
    EXPECT_EQ(stats.prompt_tokens, 3 * prompt.size());
    // One after the other they would take 300 steps; together about 100 and a few for the prompts.
    EXPECT_LT(stats.steps, 115u);
}

// A token with every piece of the prompt.
class LongPrompt : public Scheduling, public ::testing::WithParamInterface<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Borders, LongPrompt, ::testing::Values(0, 128));

TEST_P(LongPrompt, DoesNotHoldUpWhoDecodes) {
    Options options;
    options.sequences = 2;
    options.prompt_border = GetParam();
    load(options);
    Gate gate;
    std::size_t tokens_during_prompt = 0;
    std::atomic<bool> prompt_done = false;
    bool first = true;
    Client decoding([&](const Event& event) {
        if (std::exchange(first, false)) gate.hook()(event);
        if (std::holds_alternative<Generated>(event) && !prompt_done) ++tokens_during_prompt;
    });
    Client reading([&](const Event& event) {
        const auto* progress = std::get_if<Progress>(&event);
        if (progress && progress->processed == progress->total) prompt_done = true;
    });
    submit(request(100), decoding);
    gate.wait_until_reached();
    Request longer = request(1);
    longer.prompt.assign(500, 65);
    submit(std::move(longer), reading);
    gate.open();
    decoding.wait();
    reading.wait();
    EXPECT_GE(tokens_during_prompt, GetParam() > 0 ? 500 / GetParam() : 500u / 64u);
}

// More streams write than find room in a step beside prompts, and for a while both are there.
TEST_F(Scheduling, SixtyFourStreamsAllGetTheirShare) {
    constexpr std::size_t streams = 64, length = 150;
    Options options;
    options.sequences = streams;
    options.context = 256;
    load(options);
    std::vector<std::size_t> order; // whose token came, in order; behind its last token a stream is noted as `streams`
    std::vector<std::unique_ptr<Client>> clients;
    Gate gate;
    for (std::size_t i = 0; i < streams; ++i) {
        clients.push_back(std::make_unique<Client>([&, i, hook = gate.hook()](const Event& event) {
            if (i == 0) hook(event);
            if (std::holds_alternative<Generated>(event)) order.push_back(i);
            if (std::holds_alternative<Finished>(event)) order.push_back(streams);
        }));
        Request one = request(length);
        one.prompt.clear(); // nobody finds another's
        for (std::size_t j = 0; j < 40; ++j) one.prompt.push_back(static_cast<TokenId>((i * 37 + j * 11) % 256));
        submit(std::move(one), *clients.back());
    }
    gate.open();
    for (const auto& client : clients) EXPECT_EQ(client->wait().reason, FinishReason::length);

    const auto first_end = std::ranges::find(order, streams);
    std::size_t compared = 0;
    for (std::size_t late = 0; late < streams; ++late) { // all that write already when this one begins, until one ends
        const auto begin = std::ranges::find(order, late);
        std::vector<std::size_t> written(streams, 0);
        for (auto at = begin; at < first_end; ++at) ++written[*at];
        if (written[late] < 10) continue;
        for (std::size_t other = 0; other < streams; ++other) {
            if (std::ranges::find(order, other) > begin) continue;
            EXPECT_NEAR(static_cast<double>(written[other]), static_cast<double>(written[late]), 1 + 0.2 * static_cast<double>(written[late])) << other << " beside " << late;
            ++compared;
        }
    }
    EXPECT_GT(compared, streams * 20);
}

TEST_F(Scheduling, CancellingEndsARequestWithinOneStep) {
    load_with(2);
    RequestId id = 0;
    std::size_t seen = 0;
    std::promise<RequestId> known;
    auto future = known.get_future().share();
    Client client([&](const Event& event) {
        if (!std::holds_alternative<Generated>(event) || ++seen != 5) return;
        engine->cancel(future.get());
    });
    Client other;
    id = submit(request(300), client);
    known.set_value(id);
    submit(request(50), other);
    EXPECT_EQ(client.wait().reason, FinishReason::cancelled);
    EXPECT_EQ(client.wait().generated_tokens, 5u);
    EXPECT_EQ(other.wait().generated_tokens, 50u);
    EXPECT_TRUE(eventually([&] { return engine->stats().requests_cancelled == 1 && engine->stats().running == 0; }));
}

TEST_F(Scheduling, CancellingDuringThePromptStopsIt) {
    load_with(2);
    Gate gate;
    bool first = true;
    Client decoding([&](const Event& event) {
        if (std::exchange(first, false)) gate.hook()(event);
    });
    submit(request(2), decoding);
    gate.wait_until_reached();
    Client client;
    Request longer = request(1);
    longer.prompt.assign(500, 65);
    const RequestId id = submit(std::move(longer), client);
    engine->cancel(id);
    gate.open();
    EXPECT_EQ(client.wait().reason, FinishReason::cancelled);
    EXPECT_EQ(client.wait().generated_tokens, 0u);
    EXPECT_LE(engine->stats().prompt_tokens, prompt.size());
    EXPECT_EQ(decoding.wait().generated_tokens, 2u);
}

TEST_F(Scheduling, WaitingRequestsCanBeCancelledAndUnknownOnesIgnored) {
    load_with(1);
    Gate gate;
    Client running(gate.hook()), waiting, last;
    submit(request(3), running);
    gate.wait_until_reached();
    const RequestId id = submit(request(3), waiting);
    submit(request(3), last);
    engine->cancel(id);
    engine->cancel(0);
    engine->cancel(1 << 30);
    gate.open();
    EXPECT_EQ(waiting.wait().reason, FinishReason::cancelled);
    EXPECT_TRUE(waiting.tokens().empty());
    EXPECT_EQ(running.wait().reason, FinishReason::length);
    EXPECT_EQ(last.wait().reason, FinishReason::length);
    EXPECT_EQ(last.tokens(), running.tokens());
    engine->cancel(id); // long gone
}

TEST_F(Scheduling, WithoutAQueueWhatFitsIsServed) {
    load_with(2, 0);
    for (int again = 0; again < 2; ++again) {
        Gate gate;
        Client first(gate.hook()), second;
        submit(request(2), first);
        submit(request(2), second); // before the first one runs, or behind it
        gate.wait_until_reached();
        const auto refused = engine->submit(request(2), [](Event&&) { ADD_FAILURE() << "an event of a refused request"; });
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind, ErrorKind::unavailable);
        gate.open();
        EXPECT_EQ(first.wait().generated_tokens, 2u);
        EXPECT_EQ(second.wait().generated_tokens, 2u);
        ASSERT_TRUE(eventually([&] { return engine->stats().running == 0; }));
    }
}

TEST_F(Scheduling, AFullQueueRefusesAtOnce) {
    load_with(1, 2);
    Gate gate;
    Client running(gate.hook()), second, third;
    submit(request(2), running);
    gate.wait_until_reached();
    submit(request(2), second);
    submit(request(2), third);
    const auto refused = engine->submit(request(2), [](Event&&) { ADD_FAILURE() << "an event of a refused request"; });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::unavailable);
    EXPECT_EQ(engine->stats().requests_refused, 1u);
    EXPECT_EQ(engine->stats().waiting, 2u);
    gate.open();
    EXPECT_EQ(third.wait().generated_tokens, 2u); // those who wait are served in their order
    second.wait();
    running.wait();
}

TEST_F(Scheduling, DroppingTheEngineFinishesEveryRequest) {
    load_with(2);
    Gate gate;
    const auto slow = [hook = gate.hook()](const Event& event) { // the last one's own end would come after most of a minute
        hook(event);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    };
    std::array<Client, 5> clients{Client(slow), Client(slow), Client(slow), Client(slow), Client(slow)};
    submit(request(400), clients[0]);
    gate.wait_until_reached();
    for (std::size_t i = 1; i < clients.size(); ++i) submit(request(400), clients[i]);
    gate.open();
    engine.reset();
    for (Client& client : clients) { // each ended, and with the last ones that cannot have been by themselves
        const Finished& finished = client.wait();
        if (finished.reason == FinishReason::error) {
            EXPECT_EQ(finished.error.value().kind, ErrorKind::unavailable);
        }
    }
    EXPECT_EQ(clients[4].wait().reason, FinishReason::error);
}

TEST_F(Scheduling, ManyClientsFromManyThreadsAllFinish) {
    load_with(3, 1000);
    std::vector<std::thread> threads;
    std::atomic<std::size_t> finished = 0, cancelled = 0;
    for (std::uint64_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (std::uint64_t i = 0; i < 25; ++i) {
                Client client;
                const RequestId id = submit(request(1 + (i * 7 + t) % 20, 1, i), client);
                if ((i + t) % 3 == 0) engine->cancel(id);
                (client.wait().reason == FinishReason::cancelled ? cancelled : finished) += 1;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(finished + cancelled, 100u);
    EXPECT_TRUE(eventually([&] {
        const Stats stats = engine->stats();
        return stats.requests_finished == finished && stats.requests_cancelled == cancelled && stats.running == 0 &&
               stats.waiting == 0;
    }));
}

} // namespace
} // namespace lucebox::engine
