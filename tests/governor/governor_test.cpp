// What the governor gains and loses, by a simulated clock: the speculator with a model and a draft that only take time. Texts are made of
// stretches that differ in how sure the model is of them and in how often its draft is right. Step costs are those measured on
// two cores of a CPU with the default model and its draft, in plain steps, and of a GPU.
#include "decode/speculator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace lucebox::decode {
namespace {

constexpr double plain_seconds = 0.003;

struct Costs {
    std::vector<std::pair<double, double>> steps; // rows, plain steps; rising
    double draft;                                 // plain steps
};
const Costs on_a_cpu{{{1, 1}, {2, 1.25}, {4, 1.75}, {8, 2.75}, {16, 5.5}, {32, 10}, {64, 20}}, 0.95};
const Costs on_a_gpu{{{1, 1}, {8, 1.05}, {16, 1.15}, {32, 1.35}, {64, 1.7}}, 0.35};

struct Stretch {
    std::size_t tokens;
    double sureness; // of the model, about
    double right;    // how often the draft's best guess is, at every depth
};

// A text nobody has seen the like of, so that lookup finds nothing, with what the draft would propose at each place.
struct Text {
    std::vector<TokenId> tokens;
    std::vector<float> sureness;
    std::vector<model::Proposal> proposals;

    Text(const std::vector<Stretch>& stretches, std::uint32_t seed) {
        std::mt19937 random(seed);
        const auto chance = [&] { return static_cast<double>(random() >> 8) / (1 << 24); };
        std::vector<double> right;
        for (const Stretch& stretch : stretches) {
            for (std::size_t i = 0; i < stretch.tokens; ++i) {
                tokens.push_back(static_cast<TokenId>(100 + random() % 40'000));
                sureness.push_back(static_cast<float>(std::min(stretch.sureness + 0.2 * (chance() - 0.5), 1.0)));
                right.push_back(stretch.right);
            }
        }
        proposals.resize(tokens.size());
        for (std::size_t place = 0; place < tokens.size(); ++place) {
            for (std::size_t depth = 0; depth < model::simulated_depth; ++depth) {
                const std::size_t next = std::min(place + depth + 1, tokens.size() - 1);
                for (std::size_t rank = 0; rank < model::simulated_width; ++rank) {
                    const double best = right[next];
                    proposals[place].tokens[depth][rank] = static_cast<TokenId>(rank);
                    proposals[place].logprobs[depth][rank] = static_cast<float>(std::log(rank == 0 ? best : (1 - best) / 20));
                }
                if (chance() < right[next]) proposals[place].tokens[depth][0] = tokens[next];
            }
        }
    }
};

constexpr Stretch easy{200, 0.92, 0.88}, hard{200, 0.5, 0.45};

class Governor : public ::testing::Test {
protected:
    void start(const Costs& costs, double noise = 0) {
        const auto hiccup = [this, noise] { return 1 + noise * (static_cast<double>(random_() >> 8) / (1 << 23) - 1); };
        runner_.step_seconds = [this, &costs, hiccup](std::size_t rows) {
            const auto above = std::ranges::lower_bound(costs.steps, static_cast<double>(rows), {}, &std::pair<double, double>::first);
            double steps = above->second;
            if (above != costs.steps.begin()) {
                const auto below = above - 1;
                steps = below->second + (above->second - below->second) * (static_cast<double>(rows) - below->first) / (above->first - below->first);
            }
            return busy_ * plain_seconds * steps * hiccup();
        };
        draft_.run_seconds = [this, &costs, hiccup] { return busy_ * plain_seconds * costs.draft * hiccup(); };
        speculator_.emplace(Speculation{Speculation::Mode::automatic, most_draft_nodes}, runner_, &draft_);
        ASSERT_TRUE(speculator_->measure());
    }

    // Tokens a second over those of plain decoding.
    double gain(const Text& text) { return gain(text, 0, text.tokens.size()); }
    double gain(const Text& text, std::size_t from, std::size_t to) {
        const std::vector<TokenId> prompt{1, 2, 3};
        runner_.committed = prompt.size();
        speculator_->open(0, prompt);
        std::size_t at = 0; // of the last token that was chosen
        double begun = simulated_seconds, ended = simulated_seconds;
        std::size_t first = from, last = to;
        add(text, at);
        while (at + 1 < text.tokens.size()) {
            if (at <= from) begun = simulated_seconds, first = at;
            draft_.proposal = text.proposals[at];
            const Speculator::Ask ask{0, text.tokens[at], text.tokens.size() - at - 2};
            speculator_->plan({&ask, 1}, most_draft_nodes);
            const DraftTree& tree = speculator_->tree(0);
            const double seconds = runner_.step_seconds(tree.nodes().size());
            simulated_seconds += seconds;
            std::vector<std::int32_t> path{0};
            for (;;) {
                add(text, ++at);
                if (at + 1 == text.tokens.size()) break;
                const std::int32_t child = tree.child(path.back(), text.tokens[at]);
                if (child < 0) break;
                path.push_back(child);
            }
            runner_.committed += path.size();
            speculator_->observe(tree.nodes().size(), seconds);
            speculator_->verified(0, path, text.tokens[at]);
            speculator_->committed(0, path);
            if (at <= to) ended = simulated_seconds, last = at;
        }
        return static_cast<double>(last - first) * plain_seconds / (ended - begun);
    }

    void be_busy(double times) { busy_ = times; } // with other things: all takes so many times as long

    std::size_t runs() const { return draft_.runs; }
    const Speculator& speculator() const { return *speculator_; }

    // Over so many texts that are hard to guess, and as many easy ones between them.
    void expect_no_loss_and_a_gain(std::uint32_t first, int texts) {
        double of_hard = 0, of_easy = 0;
        for (int i = 0; i < texts; ++i) {
            const std::uint32_t seed = first + 2 * static_cast<std::uint32_t>(i);
            of_hard += gain(Text({hard}, seed)) / texts;
            of_easy += gain(Text({easy}, seed + 1)) / texts;
        }
        EXPECT_GT(of_hard, 0.97);
        EXPECT_GT(of_easy, 1.25);
    }

private:
    void add(const Text& text, std::size_t at) {
        speculator_->add(0, text.tokens[at], speculator_->wants_sureness() ? text.sureness[at] : DraftWorth::unknown);
    }

    std::mt19937 random_{7};
    double busy_ = 1;
    model::Runner runner_;
    model::DraftRunner draft_{runner_};
    std::optional<Speculator> speculator_;
};

TEST_F(Governor, UsesADraftThatPaysFromTheFirstTokensOn) {
    double sum = 0;
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        start(on_a_cpu);
        sum += gain(Text({easy}, seed));
    }
    EXPECT_GT(sum / 20, 1.25); // a chain of 7 all the time: 1.4; twelve plain steps are tried on the way
}

TEST_F(Governor, LosesNothingWhereTheDraftDoesNotPay) {
    double worst = 1;
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        start(on_a_cpu);
        worst = std::min(worst, gain(Text({hard}, seed))); // when nothing is known
    }
    EXPECT_GT(worst, 0.98);
    for (std::uint32_t seed = 2; seed < 12; ++seed) worst = std::min(worst, gain(Text({hard}, seed)));
    EXPECT_GT(worst, 0.98);
}

TEST_F(Governor, NoKindOfTextPaysForAnother) {
    start(on_a_cpu);
    double worst_hard = 9, of_easy = 0;
    for (std::uint32_t seed = 0; seed < 40; seed += 2) {
        worst_hard = std::min(worst_hard, gain(Text({hard}, seed)));
        of_easy += gain(Text({easy}, seed + 1)) / 20;
    }
    EXPECT_GT(worst_hard, 0.98);
    EXPECT_GT(of_easy, 1.3);
}

TEST_F(Governor, NoticesATextThatBecomesEasyOrHard) {
    double of_easy = 0, of_hard = 0;
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        start(on_a_cpu);
        const Text text({hard, easy, hard}, seed);
        of_easy += gain(text, 200, 400) / 20;
        of_hard += gain(text, 400, 600) / 20;
    }
    EXPECT_GT(of_easy, 1.2);
    EXPECT_GT(of_hard, 0.97); // ten tokens tell
}

TEST_F(Governor, FindsOutThatADraftIsWrongWhereTheModelIsSure) {
    double first = 0, sum = 0;
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        start(on_a_cpu);
        first += gain(Text({{200, 0.95, 0.1}}, seed)) / 20;
    }
    EXPECT_GT(first, 0.93);
    for (std::uint32_t seed = 2; seed < 12; ++seed) sum += gain(Text({{200, 0.95, 0.1}}, seed));
    EXPECT_GT(sum / 10, 0.985);
}

TEST_F(Governor, FindsOutThatADraftIsRightWhereTheModelIsUnsure) {
    start(on_a_cpu);
    for (std::uint32_t seed = 0; seed < 50; ++seed) gain(Text({{200, 0.2, 0.9}}, seed));
    EXPECT_GT(gain(Text({{200, 0.2, 0.9}}, 50)), 1.3);
}

TEST_F(Governor, TriesADraftThatIsTooSlowForHalfAPercentOfTheTimeAtMost) {
    Costs dear = on_a_cpu;
    dear.draft = 12;
    start(dear);
    const std::size_t before = runs();
    double sum = 0;
    for (std::uint32_t seed = 0; seed < 30; ++seed) sum += gain(Text({hard}, seed));
    EXPECT_GT(sum / 30, 0.99);
    EXPECT_GT(runs(), before);
}

TEST_F(Governor, AsksNobodyHowSureTheModelIsWhereRowsAreNearlyFree) {
    double of_hard = 0, of_easy = 0;
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        start(on_a_gpu);
        of_hard += gain(Text({hard}, seed)) / 20;
        of_easy += gain(Text({easy}, seed)) / 20;
    }
    EXPECT_FALSE(speculator().wants_sureness());
    EXPECT_GT(of_hard, 1.2);
    EXPECT_GT(of_easy, 2.8);
}

// A text that repeats itself, so that lookup alone pays.
Text repeated(std::uint32_t seed) {
    Text text({{600, 0.5, 0.45}}, seed);
    for (std::size_t i = 60; i < text.tokens.size(); ++i) {
        if (i % 60 < 40) text.tokens[i] = text.tokens[i - 60];
    }
    return text;
}

TEST_F(Governor, ABusyStartIsForgotten) {
    be_busy(10); // the start has not the time to measure large steps then
    start(on_a_cpu);
    be_busy(1);
    expect_no_loss_and_a_gain(0, 6);
    EXPECT_GT(gain(repeated(1)), 1.5);
}

TEST_F(Governor, TimesWhenTheMachineWasBusyAreForgotten) {
    start(on_a_cpu);
    const double before = gain(repeated(1));
    EXPECT_GT(before, 1.5);
    for (std::uint32_t seed = 0; seed < 6; ++seed) {
        be_busy(seed % 2 == 0 ? 6 : 1);
        gain(Text({easy, hard}, seed));
        be_busy(seed % 2 == 0 ? 1 : 6);
        gain(repeated(seed));
    }
    be_busy(1);
    expect_no_loss_and_a_gain(10, 6);
    EXPECT_GT(gain(repeated(3)), 0.9 * before);
}

TEST_F(Governor, IsNotMisledByAClockThatTrembles) {
    start(on_a_cpu, 0.15);
    expect_no_loss_and_a_gain(0, 12);
}

} // namespace
} // namespace lucebox::decode
