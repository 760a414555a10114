// The contract that makes speculation safe to leave on: with the same seed and settings, the text with any speculation is
// the text without it, token for token. And the guesses are the draft's own: traces of other programs come out the same.
#include "../model/converted_draft.h"
#include "../model/oracle.h"

#include "decode/continue_text.h"
#include "decode/grammar_constraint.h"

#include <fmt/format.h>

#include <numeric>
#include <optional>

namespace lucebox::decode::testing {
namespace {

using model::DflashFile;
using model::DraftRunner;
using model::testing::gpu_is_here;
using model::testing::On;
using model::testing::oracle_path;
using model::testing::Rig;

struct Case {
    const char* folder;
    const char* draft; // null: none
    std::optional<compute::DType> kv_type = {}; // of the model's cache
    On on = On::cpu;
    std::optional<gguf::TensorType> weights = {}; // of the draft, if they are converted first
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.folder << ' ' << (one.draft ? one.draft : "lookup"); }

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
    std::string name = fmt::format("{}_{}", info.param.folder, info.param.draft ? info.param.draft : "lookup");
    if (info.param.on == On::cuda) name += "_cuda";
    if (info.param.weights) name += fmt::format("_as_{}", gguf::block_format(*info.param.weights).name);
    if (info.param.kv_type) name += fmt::format("_{}", compute::dtype_name(*info.param.kv_type));
    for (char& c : name) {
        if (c == '-' || c == '.') c = '_';
    }
    return name;
}

class SpeculationTest : public ::testing::TestWithParam<Case> {
protected:
    std::filesystem::path folder = oracle_path(GetParam().folder);
    std::unique_ptr<Rig> rig;
    std::optional<DflashFile> file;
    std::unique_ptr<DraftRunner> draft;

    void SetUp() override {
        LUCEBOX_NEEDS_GPU_IF(GetParam().on == On::cuda);
        const model::RunnerOptions options{.context = 400, .sequences = 4, .rows = 256, .kv_type = GetParam().kv_type};
        rig = std::make_unique<Rig>(folder / "model.gguf", options, GetParam().on, 1);
        if (!GetParam().draft) return;
        const auto path = folder / GetParam().draft;
        auto opened = GetParam().weights ? model::testing::converted_draft(path, *GetParam().weights) : DflashFile::open(path);
        ASSERT_TRUE(opened) << opened.error().message;
        file.emplace(std::move(*opened));
        auto loaded = DraftRunner::load(*file, *rig->device, *rig->runner);
        ASSERT_TRUE(loaded) << loaded.error().message;
        draft = std::move(*loaded);
    }

    std::vector<TokenId> prompt(std::uint64_t seed) const {
        const auto array = read_npy_tokens(folder / (std::filesystem::exists(folder / "sequence.npy") ? "sequence.npy" : "tokens.npy"));
        const std::vector<TokenId>& tokens = *array;
        const std::size_t begin = seed * 5 % 30;
        std::vector<TokenId> out(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                                 tokens.begin() + static_cast<std::ptrdiff_t>(std::min(tokens.size(), begin + 20 + seed % 11)));
        const std::vector<TokenId> again = out; // something to look up
        out.insert(out.end(), again.begin(), again.begin() + static_cast<std::ptrdiff_t>(again.size() / 2));
        return out;
    }

    ContinuedText text(const Speculation& speculation, const ContinueOptions& options, std::span<const TokenId> prompt) {
        Speculator speculator(speculation, *rig->runner, draft.get());
        const model::SequenceId sequence = rig->open();
        auto continued = continue_text(*rig->runner, speculator, sequence, prompt, options);
        rig->runner->close(sequence);
        EXPECT_TRUE(continued) << (continued ? "" : continued.error().message);
        return continued ? std::move(*continued) : ContinuedText{};
    }

    static std::vector<SamplingParams> settings() {
        std::vector<SamplingParams> all(6);
        all[0].temperature = 0;
        all[1].temperature = 0;
        all[1].repetition_penalty = 1.2f;
        all[1].frequency_penalty = 0.3f;
        all[2].temperature = 0.7f;
        all[2].top_p = 0.9f;
        all[3].temperature = 0.7f;
        all[3].top_k = 20;
        all[3].presence_penalty = 0.5f;
        all[4].temperature = 1.3f;
        all[4].min_p = 0.05f;
        all[5].temperature = 0.7f; // a text of three words, so that there is something to look up whatever the model says
        all[5].logit_bias = {{3, 100.0f}, {5, 100.0f}, {7, 100.0f}};
        return all;
    }
};

std::vector<Speculation> shapes() {
    std::vector<Speculation> all{{Speculation::Mode::automatic, most_draft_nodes}};
    for (const std::size_t budget : {1, 8, 16, 22, 32, 48, 63}) {
        all.push_back({Speculation::Mode::tree, budget});
        all.push_back({Speculation::Mode::chain, budget});
    }
    return all;
}

TEST_P(SpeculationTest, AnySpeculationGivesTheTextOfPlainDecoding) {
    std::uint64_t accepted = 0, looked_up = 0, drafted = 0, seed = 0;
    const auto all = shapes();
    for (SamplingParams params : settings()) {
        params.seed = ++seed;
        const ContinueOptions options{params, 32, 7 + 60 * seed, {}, false};
        const auto start = prompt(seed);
        const ContinuedText plain = text({}, options, start);
        ASSERT_EQ(plain.tokens.size(), 32u);
        ASSERT_EQ(plain.stats.drafted, 0u);
        for (std::size_t i = seed % 2; i < all.size(); i += 2) { // each with every other setting
            const ContinuedText got = text(all[i], options, start);
            ASSERT_EQ(got.tokens, plain.tokens) << all[i].name() << " at temperature " << params.temperature << ", seed " << seed;
            accepted += got.stats.accepted;
            looked_up += got.stats.accepted_from_lookup;
            drafted += got.stats.drafted;
            ASSERT_LE(got.stats.accepted, got.stats.drafted);
            ASSERT_EQ(got.stats.tokens + 1, got.tokens.size()); // the first token came with the prompt
        }
    }
    EXPECT_GT(drafted, 20u) << "nothing was speculated";
    if (GetParam().draft) {
        EXPECT_GT(accepted - looked_up, 3u) << "of the draft's own";
    }
}

TEST_P(SpeculationTest, LogprobsAndEndingsAreThoseOfPlainDecoding) {
    SamplingParams params;
    params.temperature = 0.7f;
    params.seed = 4;
    ContinueOptions options{params, 40, 256, {}, false};
    const auto start = prompt(4);
    const ContinuedText whole = text({}, options, start);
    const TokenId end = whole.tokens[whole.tokens.size() / 2];
    options.ends = [end](TokenId token) { return token == end; };
    const ContinuedText plain = text({}, options, start);
    EXPECT_TRUE(plain.ended);
    for (const Speculation& speculation : shapes()) {
        const ContinuedText got = text(speculation, options, start);
        EXPECT_EQ(got.tokens, plain.tokens) << speculation.name();
        EXPECT_TRUE(got.ended);
    }
}

TEST_P(SpeculationTest, AcceptanceDoesNotFallAsTheBudgetGrows) {
    SamplingParams params;
    params.temperature = 0;
    const ContinueOptions options{params, 64, 256, {}, false};
    const auto start = prompt(2);
    std::uint64_t steps_before = 64;
    // Trees of one builder: below the draft's depth a tree is its chain.
    for (const std::size_t budget : {1, 8, 16, 22, 32, 48, 63}) {
        const ContinuedText got = text({Speculation::Mode::tree, budget}, options, start);
        EXPECT_LE(got.stats.steps, steps_before + 1) << "budget " << budget; // where a step ends may shift the last ones by one
        steps_before = got.stats.steps;
    }
}

class GrammarForm final : public Form {
public:
    explicit GrammarForm(text::GrammarMatcher& matcher) : matcher_(matcher) {}
    Place here() override { return static_cast<Place>(matcher_.state()); }
    Place after(Place place, TokenId token) override {
        const auto state = matcher_.after(static_cast<text::GrammarMatcher::State>(place), token);
        return state && !matcher_.must_end(*state) ? static_cast<Place>(*state) : nowhere;
    }
    void suggest(Place place, std::vector<TokenId>& tokens) override { matcher_.suggest(static_cast<text::GrammarMatcher::State>(place), tokens); }

private:
    text::GrammarMatcher& matcher_;
};

TEST_P(SpeculationTest, NoGuessIsOneThatTheGrammarForbids) {
    const auto tokenizer = text::Tokenizer::from_metadata(rig->file);
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    const auto trie = text::TokenTrie::build(**tokenizer);
    // What stands in the text already is looked up, and is forbidden every other time.
    const auto grammar = text::Grammar::from_gbnf("root ::= ([a-m]{3} [0-9]{2} \"again\" [n-z]{3} [0-9]{2} \"again\")*");
    ASSERT_TRUE(grammar) << grammar.error().message;
    SamplingParams params;
    params.temperature = 0;
    const auto start = prompt(3);
    std::vector<TokenId> plain;
    for (const char* const shape : {"off", "auto", "tree:22", "chain:7"}) {
        Speculator speculator(*parse_speculation(shape), *rig->runner, draft.get());
        text::GrammarMatcher matcher(*grammar, trie);
        GrammarForm form(matcher);
        Sampler sampler;
        TokenHistory history;
        std::vector<TokenId> written;
        const model::SequenceId sequence = rig->open();
        const auto choose = [&](std::size_t output) {
            const auto row = rig->runner->logits(output);
            std::vector<float> logits(row.begin(), row.end());
            GrammarConstraint constraint(matcher);
            written.push_back(sampler.sample(logits, params, history, start.size() + written.size(), false, 0, &constraint).token);
            EXPECT_TRUE(matcher.accept(written.back()));
            speculator.add(sequence, written.back());
            return written.back();
        };
        speculator.open(sequence, start);
        rig->feed(sequence, start, start.size());
        std::vector<std::int32_t> path(start.size());
        std::iota(path.begin(), path.end(), 0);
        speculator.committed(sequence, path);
        choose(start.size() - 1);
        std::size_t guesses = 0;
        while (written.size() < 80) {
            const Speculator::Ask ask{sequence, written.back(), 100, &form};
            speculator.plan({&ask, 1}, most_draft_nodes);
            const auto nodes = speculator.tree(sequence).nodes();
            std::vector<Form::Place> places{form.here()};
            std::vector<model::Row> rows{{sequence, nodes[0].token, -1, true, false}};
            for (const DraftNode& node : nodes.subspan(1)) {
                places.push_back(form.after(places[static_cast<std::size_t>(node.parent)], node.token));
                ASSERT_NE(places.back(), Form::nowhere) << shape << ": guessed " << (*tokenizer)->token_bytes(node.token);
                rows.push_back({sequence, node.token, node.parent, true, false});
            }
            guesses += nodes.size() - 1;
            ASSERT_TRUE(rig->runner->step(rows, model::Commit::later));
            path.assign(1, 0);
            TokenId next = choose(0);
            for (std::int32_t child = 0; (child = speculator.tree(sequence).child(path.back(), next)) >= 0;) {
                path.push_back(child);
                next = choose(static_cast<std::size_t>(child));
            }
            ASSERT_TRUE(rig->runner->commit(sequence, path));
            speculator.verified(sequence, path, next);
            speculator.committed(sequence, path);
        }
        rig->runner->close(sequence);
        written.resize(80);
        if (plain.empty()) plain = written;
        EXPECT_EQ(written, plain) << shape;
        if (std::string_view(shape) == "tree:22") {
            EXPECT_GT(guesses, 10u);
        }
    }
}

std::vector<Case> cases(On on) {
    std::vector<Case> all{{"dflash-qwen3", "draft.gguf"}, {"dflash-qwen35", "draft.gguf"}, {"dflash-qwen35", "draft_swa.gguf"}};
    // Not qwen35: what its random weights say repeats nothing, so that lookup has nothing to guess.
    for (const char* alone : {"llama", "gemma3", "qwen2", "qwen3", "qwen3-tied", "qwen35-mtp", "qwen35-r3"}) all.push_back({alone, nullptr});
    for (const Case& rounded : {Case{"dflash-qwen35", "draft_swa.gguf"}, Case{"llama", nullptr}}) {
        all.push_back({rounded.folder, rounded.draft, compute::DType::q8_0});
    }
    for (const gguf::TensorType type : {gguf::TensorType::q8_0, gguf::TensorType::q4_k}) all.push_back({"dflash-qwen3", "draft.gguf", {}, on, type});
    for (Case& one : all) one.on = on;
    return all;
}

INSTANTIATE_TEST_SUITE_P(Cpu, SpeculationTest, ::testing::ValuesIn(cases(On::cpu)), name_of);
INSTANTIATE_TEST_SUITE_P(Cuda, SpeculationTest, ::testing::ValuesIn(cases(On::cuda)), name_of);

class Traces : public SpeculationTest {};

TEST_P(Traces, AChainOfTheDraftGivesTheTraceOfTheReference) {
    const std::string tag = std::filesystem::path(GetParam().draft).stem();
    const auto trace = nlohmann::json::parse(std::ifstream(folder / fmt::format("{}_trace.json", tag)));
    const auto sequence = read_npy_tokens(folder / "sequence.npy");
    ASSERT_TRUE(sequence);
    const auto expected = trace["tokens"].get<std::vector<TokenId>>();
    SamplingParams params;
    params.temperature = 0;
    const ContinueOptions options{params, expected.size(), 256, {}, true};
    const ContinuedText got = text({Speculation::Mode::chain, draft->block() - 1}, options,
                                   std::span(*sequence).first(trace["prompt_len"].get<std::size_t>()));
    EXPECT_EQ(got.tokens, expected);
    ASSERT_GE(trace["steps"].size(), got.steps.size());
    for (std::size_t i = 0; i + 1 < got.steps.size(); ++i) { // the last one may be cut short by the text's length
        const auto& step = trace["steps"][i];
        ASSERT_EQ(got.steps[i].start, step["start"].get<std::size_t>());
        ASSERT_EQ(got.steps[i].accepted, step["accepted"].get<std::size_t>()) << "step " << i;
        const auto proposals = step["draft"].get<std::vector<TokenId>>();
        for (std::size_t k = 0; k < std::min(got.steps[i].accepted + 1, got.steps[i].proposals.size()); ++k) {
            ASSERT_EQ(got.steps[i].proposals[k].token, proposals[k]) << "step " << i << " proposal " << k;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, Traces,
                         ::testing::Values(Case{"dflash-qwen3", "draft.gguf"}, Case{"dflash-qwen35", "draft.gguf"},
                                           Case{"dflash-qwen35", "draft_swa.gguf"}),
                         name_of);

} // namespace
} // namespace lucebox::decode::testing
