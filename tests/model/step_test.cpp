// The contract of a step: what a row computes does not depend on its company, and what is not committed never happened.
// Bits are compared, not tolerances.
#include "oracle.h"

#include <cmath>
#include <optional>
#include <random>

namespace lucebox::model::testing {
namespace {

using Logits = std::vector<float>;

Logits last_logits(Runner& runner, std::size_t output) {
    const auto row = runner.logits(output);
    return {row.begin(), row.end()};
}

using KvType = std::optional<compute::DType>; // of the cache; none: the model's own

class Step : public ::testing::TestWithParam<std::tuple<const char*, On, KvType>> {
protected:
    static constexpr std::size_t sequences = 4;

    void SetUp() override {
        LUCEBOX_NEEDS_GPU_IF(on() == On::cuda);
        rig = another_rig();
    }
    std::unique_ptr<Rig> another_rig() const {
        const RunnerOptions options{.context = 512, .sequences = sequences, .rows = 256, .kv_type = kv_type()};
        return std::make_unique<Rig>(folder / "model.gguf", options, on());
    }

    On on() const { return std::get<1>(GetParam()); }
    KvType kv_type() const { return std::get<2>(GetParam()); }

    std::unique_ptr<Rig> rig;
    std::filesystem::path folder = oracle_path(std::get<0>(GetParam()));
    std::vector<TokenId> tokens = must(read_npy_tokens(folder / "tokens.npy"));
    std::mt19937 random{20261124};

    TokenId any_token() { return static_cast<TokenId>(random() % 256); }

    std::vector<Logits> plain(std::span<const TokenId> text) {
        const SequenceId sequence = rig->open();
        auto logits = rig->feed(sequence, text, 1);
        rig->runner->close(sequence);
        return logits;
    }

    // Rows of a random tree below `sequence`'s committed end: every row hangs on the end or on an earlier row.
    std::vector<Row> random_tree(SequenceId sequence, std::size_t rows, std::int32_t first_row = 0) {
        std::vector<Row> tree;
        for (std::size_t i = 0; i < rows; ++i) {
            // Deep more often than wide, as drafts are.
            const bool deep = i > 0 && random() % 3 != 0;
            const auto parent = deep ? static_cast<std::int32_t>(i - 1) : static_cast<std::int32_t>(random() % (i + 1)) - 1;
            tree.push_back({sequence, any_token(), parent < 0 ? -1 : parent + first_row, true});
        }
        return tree;
    }

    static std::vector<std::int32_t> path_to(std::span<const Row> rows, std::int32_t row) {
        std::vector<std::int32_t> path;
        for (; row >= 0; row = rows[static_cast<std::size_t>(row)].parent) path.push_back(row);
        std::ranges::reverse(path);
        return path;
    }
};

TEST_P(Step, APromptGivesTheSameBitsHoweverItIsCut) {
    const std::vector<Logits> expected = plain(tokens);
    for (const std::size_t rows : {std::size_t{3}, std::size_t{16}, std::size_t{64}, std::size_t{100}, std::size_t{256}}) {
        if (on() == On::cuda && rows > compute::max_tree_rows) continue; // there prefill is another arithmetic
        const SequenceId sequence = rig->open();
        EXPECT_EQ(rig->feed(sequence, tokens, rows), expected) << rows << " rows a step";
        rig->runner->close(sequence);
    }
}

// Else a text would be another one as soon as a draft is there, whatever it guesses.
TEST_P(Step, KeepingFeaturesForADraftChangesNoBit) {
    const std::vector<Logits> expected = plain(tokens);
    const auto keeping = another_rig();
    ASSERT_TRUE(keeping->runner->capture({0, 1, 2}));
    for (const std::size_t rows : {std::size_t{1}, std::size_t{7}, std::size_t{40}}) {
        const SequenceId sequence = keeping->open();
        EXPECT_EQ(keeping->feed(sequence, tokens, rows), expected) << rows << " rows a step";
        keeping->runner->close(sequence);
    }
}

TEST_P(Step, ARowIsTheSameBesideOtherSequences) {
    const std::vector<Logits> expected = plain(tokens);
    const SequenceId ours = rig->open(), second = rig->open(), third = rig->open();
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        std::vector<Row> rows;
        const auto others = [&](SequenceId sequence, std::size_t count) {
            for (std::size_t j = 0; j < count; ++j) {
                rows.push_back({sequence, any_token(), j == 0 ? -1 : static_cast<std::int32_t>(rows.size()) - 1, false});
            }
        };
        others(second, random() % 3);
        const auto own = rows.size();
        rows.push_back({ours, tokens[i], -1, true});
        others(third, random() % 2);
        ASSERT_TRUE(rig->runner->step(rows, Commit::all)) << own;
        ASSERT_EQ(last_logits(*rig->runner, 0), expected[i]) << "token " << i;
    }
}

TEST_P(Step, EveryRowOfATreeIsWhatPlainDecodingOfItsPathGives) {
    struct {
        std::size_t size, prompt; // the last behind whole blocks of keys, which the tree's rows read together
    } const cases[] = {{2, 20}, {9, 20}, {64, 20}, {24, 150}};
    std::vector<TokenId> long_prompt(tokens.begin(), tokens.begin() + 20);
    while (long_prompt.size() < 150) long_prompt.push_back(any_token());
    for (const auto& [size, prompt_size] : cases) {
        const SequenceId sequence = rig->open();
        const std::span prompt(long_prompt.data(), prompt_size);
        rig->feed(sequence, prompt, 64);
        const std::vector<Row> tree = random_tree(sequence, size);
        ASSERT_TRUE(rig->runner->step(tree, Commit::later));
        std::vector<Logits> got;
        for (std::size_t i = 0; i < size; ++i) got.push_back(last_logits(*rig->runner, i));
        rig->runner->close(sequence);
        for (std::size_t i = 0; i < size; ++i) {
            std::vector<TokenId> text(prompt.begin(), prompt.end());
            for (const std::int32_t row : path_to(tree, static_cast<std::int32_t>(i))) {
                text.push_back(tree[static_cast<std::size_t>(row)].token);
            }
            ASSERT_EQ(got[i], plain(text).back()) << "row " << i << " of " << size;
        }
    }
}

TEST_P(Step, AnAcceptedPathGoesOnAsPlainDecodingDoes) {
    // Rounds of: a tree, some path of it accepted (or nothing), beside a second sequence that does the same. The text
    // so far, decoded plainly, must give the same bits at every step, forever after.
    const SequenceId sequence = rig->open(), neighbour = rig->open();
    std::vector<TokenId> text(tokens.begin(), tokens.begin() + 11);
    rig->feed(sequence, text, 64);
    rig->feed(neighbour, text, 64);
    for (int round = 0; round < 8; ++round) {
        const std::size_t size = 1 + random() % 24;
        std::vector<Row> rows = random_tree(sequence, size);
        const auto other = random_tree(neighbour, 1 + random() % 24, static_cast<std::int32_t>(size));
        rows.insert(rows.end(), other.begin(), other.end());
        ASSERT_TRUE(rig->runner->step(rows, Commit::later));
        std::vector<std::int32_t> path = path_to(rows, static_cast<std::int32_t>(random() % (size + 1)) - 1);
        const Logits at_end = path.empty() ? Logits{} : last_logits(*rig->runner, static_cast<std::size_t>(path.back()));
        ASSERT_TRUE(rig->runner->commit(sequence, path));
        for (const std::int32_t row : path) text.push_back(rows[static_cast<std::size_t>(row)].token);
        if (round % 2 == 0) {
            ASSERT_TRUE(rig->runner->commit(neighbour, path_to(rows, static_cast<std::int32_t>(rows.size()) - 1)));
        }
        if (!path.empty()) {
            ASSERT_EQ(at_end, plain(text).back()) << "round " << round;
        }
        ASSERT_EQ(rig->runner->length(sequence), text.size());
        if (round % 3 == 2) { // plain steps in between
            text.push_back(any_token());
            ASSERT_EQ(rig->feed(sequence, {&text.back(), 1}, 1).back(), plain(text).back()) << "round " << round;
        }
    }
}

TEST_P(Step, UncommittedRowsLeaveNoTrace) {
    const std::vector<Logits> expected = plain(tokens);
    const SequenceId sequence = rig->open();
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (i % 5 == 3) {
            ASSERT_TRUE(rig->runner->step(random_tree(sequence, 1 + random() % 64), Commit::later));
        }
        ASSERT_EQ(rig->feed(sequence, {&tokens[i], 1}, 1).back(), expected[i]) << "token " << i;
    }
}

TEST_P(Step, AReusedSlotRemembersNothing) {
    const std::vector<Logits> expected = plain(tokens);
    for (std::size_t i = 0; i < 2 * sequences; ++i) {
        const SequenceId sequence = rig->open();
        ASSERT_EQ(rig->feed(sequence, tokens, 64).back(), expected.back());
        rig->runner->close(sequence);
    }
}

// Threads share the keys of long texts where rows are few; how, must not show.
TEST_P(Step, LongTextsGiveTheSameBitsOnAnyNumberOfThreads) {
    if (on() == On::cuda) GTEST_SKIP() << "skipped: threads are the CPU's";
    std::vector<TokenId> text(700);
    std::ranges::generate(text, [&] { return any_token(); });
    const std::vector<Row> tree = random_tree(0, 40);
    std::vector<Logits> expected;
    for (const std::size_t threads : {std::size_t{1}, std::size_t{2}, std::size_t{7}}) {
        for (const std::size_t rows : {std::size_t{256}, std::size_t{13}}) {
            Rig other(folder / "model.gguf", {.context = 800, .sequences = 1, .rows = 256, .kv_type = kv_type()}, On::cpu, threads);
            std::vector<Logits> logits = other.feed(other.open(), text, rows);
            ASSERT_TRUE(other.runner->step(tree, Commit::later));
            for (std::size_t i = 0; i < tree.size(); ++i) logits.push_back(last_logits(*other.runner, i));
            for (const TokenId token : {3, 4}) {
                ASSERT_TRUE(other.runner->step(std::vector<Row>{{0, token, -1, true}}, Commit::all));
                logits.push_back(last_logits(*other.runner, 0));
            }
            if (expected.empty()) expected = logits;
            EXPECT_EQ(logits, expected) << threads << " threads, " << rows << " rows a step";
        }
    }
}

TEST_P(Step, RefusesWhatIsNoStep) {
    Runner& runner = *rig->runner;
    const SequenceId a = rig->open(), b = rig->open();
    const auto refused = [&](std::vector<Row> rows, Commit commit) {
        const Status status = runner.step(rows, commit);
        return !status && status.error().kind == ErrorKind::usage && runner.length(a) == 0 && runner.length(b) == 0;
    };
    EXPECT_TRUE(refused({}, Commit::all));
    EXPECT_TRUE(refused(std::vector<Row>(257, Row{a, 1, -1, false}), Commit::later));
    EXPECT_TRUE(refused({{99, 1, -1, false}}, Commit::all));
    EXPECT_TRUE(refused({{a, -1, -1, false}}, Commit::all));
    EXPECT_TRUE(refused({{a, 1 << 30, -1, false}}, Commit::all));
    EXPECT_TRUE(refused({{a, 1, 0, false}}, Commit::all));                                         // its own parent
    EXPECT_TRUE(refused({{a, 1, -1, false}, {b, 1, 0, false}}, Commit::all));                      // another's row
    EXPECT_TRUE(refused({{a, 1, -1, false}, {b, 1, -1, false}, {a, 1, 0, false}}, Commit::later)); // not neighbours
    EXPECT_TRUE(refused({{a, 1, -1, false}, {a, 2, -1, false}}, Commit::all));                     // a tree
    ASSERT_TRUE(runner.step(std::vector<Row>{{a, 1, -1, false}, {a, 2, -1, false}}, Commit::later));
    EXPECT_FALSE(runner.commit(a, std::vector<std::int32_t>{0, 1})); // not a path
    EXPECT_FALSE(runner.commit(b, std::vector<std::int32_t>{0}));
    EXPECT_TRUE(runner.commit(a, std::vector<std::int32_t>{1}));
    EXPECT_FALSE(runner.commit(a, std::vector<std::int32_t>{1})); // twice
    EXPECT_EQ(runner.length(a), 1u);
}

TEST_P(Step, RefusesTokensBehindTheContext) {
    const SequenceId sequence = rig->open();
    for (std::size_t i = 0; i < 2; ++i) rig->feed(sequence, std::vector<TokenId>(256, 5), 256);
    EXPECT_FALSE(rig->runner->step(std::vector<Row>{{sequence, 1, -1, false}}, Commit::all));
    EXPECT_EQ(rig->runner->length(sequence), 512u);
    ASSERT_TRUE(rig->runner->step(std::vector<Row>{{sequence, 1, -1, false}}, Commit::later)); // a look ahead is fine
    EXPECT_FALSE(rig->runner->commit(sequence, std::vector<std::int32_t>{0}));
}

TEST_P(Step, SaysHowSureTheModelIsOfItsBestToken) {
    const SequenceId sequence = rig->open();
    Runner& runner = *rig->runner;
    const auto tree = random_tree(sequence, 9);
    for (const bool expected : {false, true}) { // announced or not, in steps and after another question
        runner.expect_sureness(expected);
        ASSERT_TRUE(runner.step(tree, Commit::later));
        for (std::size_t i = 0; i < tree.size(); ++i) {
            if (!expected) {
                EXPECT_GE(runner.best(i), 0);
            }
            const Logits logits = last_logits(runner, i);
            const auto best = std::ranges::max_element(logits);
            double total = 0;
            for (const float logit : logits) total += std::exp(double{logit - *best});
            EXPECT_NEAR(runner.sureness(i), 1 / total, 1e-4) << i;
            EXPECT_EQ(runner.best(i), best - logits.begin()) << i;
        }
    }
}

std::string step_name(const ::testing::TestParamInfo<Step::ParamType>& info) {
    std::string name = std::get<0>(info.param);
    name += std::get<1>(info.param) == On::cuda ? "_cuda" : "";
    if (const KvType type = std::get<2>(info.param)) name += "_" + std::string(compute::dtype_name(*type));
    std::ranges::replace(name, '-', '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(All, Step,
                         ::testing::Combine(::testing::Values("llama", "qwen3", "gemma3", "qwen35", "qwen35-r3"),
                                            ::testing::Values(On::cpu, On::cuda), ::testing::Values(KvType{})),
                         step_name);
INSTANTIATE_TEST_SUITE_P(RoundedKeys, Step,
                         ::testing::Combine(::testing::Values("llama", "gemma3", "qwen35"), ::testing::Values(On::cpu, On::cuda),
                                            ::testing::Values(KvType{compute::DType::q8_0})),
                         step_name);

} // namespace
} // namespace lucebox::model::testing
