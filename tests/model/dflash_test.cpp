// DFlash drafts against what an independent implementation computes: features, every draft logit, whole traces.
#include "converted_draft.h"
#include "oracle.h"

#include "gguf/writer.h"
#include "model/dflash_target.h"
#include "model/draft_runner.h"

#include <fmt/format.h>

#include <numeric>
#include <tuple>
#include <unistd.h>

namespace lucebox::model::testing {
namespace {

constexpr float logit_tolerance = 1e-3f; // see tests/data/oracle/README.md
constexpr float f16_logit_tolerance = 0.1f; // the GPU multiplies f16 operands, which moves single logits by up to 0.09

struct Case {
    const char* folder;
    const char* tag;    // of its files
    const char* stored; // what is loaded
    On on;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.folder << ' ' << one.stored; }

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
    std::string name = fmt::format("{}_{}_{}", info.param.folder, info.param.stored, name_of(info.param.on));
    for (char& c : name) {
        if (c == '-' || c == '.' || c == '/') c = '_';
    }
    return name;
}

class Dflash : public ::testing::TestWithParam<Case> {
protected:
    void SetUp() override {
        LUCEBOX_NEEDS_GPU_IF(GetParam().on == On::cuda);
        const RunnerOptions options{.context = 256, .sequences = 2, .rows = 128, .kv_type = {}};
        rig = std::make_unique<Rig>(folder / "model.gguf", options, GetParam().on);
        draft = load();
    }

    std::filesystem::path folder = oracle_path(GetParam().folder);
    std::unique_ptr<Rig> rig;
    DflashFile file = open(folder / GetParam().stored);
    std::unique_ptr<DraftRunner> draft;
    float tolerance = GetParam().on == On::cuda ? f16_logit_tolerance : logit_tolerance;
    std::vector<TokenId> sequence = must(read_npy_tokens(folder / "sequence.npy"));
    nlohmann::json trace = nlohmann::json::parse(std::ifstream(folder / fmt::format("{}_trace.json", GetParam().tag)));

    static DflashFile open(const std::filesystem::path& path) {
        auto file = DflashFile::open(path);
        if (!file) throw std::runtime_error(file.error().message);
        return std::move(*file);
    }
    std::unique_ptr<DraftRunner> load(std::size_t head_tokens = 0) {
        auto loaded = DraftRunner::load(file, *rig->device, *rig->runner, head_tokens);
        if (!loaded) throw std::runtime_error(loaded.error().message);
        return std::move(*loaded);
    }

    // Feeds tokens and tells the draft.
    void feed(SequenceId id, std::span<const TokenId> tokens, std::size_t rows_per_step) {
        for (std::size_t begin = 0; begin < tokens.size(); begin += rows_per_step) {
            const auto piece = tokens.subspan(begin, std::min(rows_per_step, tokens.size() - begin));
            rig->feed(id, piece, rows_per_step);
            std::vector<std::int32_t> rows(piece.size());
            std::iota(rows.begin(), rows.end(), 0);
            draft->append(id, rows);
        }
    }
};

TEST_P(Dflash, FeaturesOfTheTargetAgree) {
    const std::vector<float> expected = floats(folder / "target_features.npy");
    const std::size_t width = file.config().target_layers.size() * file.config().width;
    rig->feed(rig->open(), sequence, 128);
    const Tensor features = rig->runner->features();
    ASSERT_EQ(features.width, width);
    ASSERT_GE(features.rows, sequence.size());
    std::vector<float> got(sequence.size() * width);
    rig->device->download(std::as_writable_bytes(std::span(got)), reinterpret_cast<const std::byte*>(features.data));
    for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], expected[i], tolerance * std::max(1.0f, std::abs(expected[i]))) << "value " << i;
    }
}

TEST_P(Dflash, EveryLogitAgreesHoweverTheContextCame) {
    const std::size_t vocabulary = rig->runner->vocabulary();
    for (const std::size_t context : trace["contexts"].get<std::vector<std::size_t>>()) {
        const std::vector<float> expected = floats(folder / fmt::format("{}_logits_ctx{}.npy", GetParam().tag, context));
        for (const std::size_t rows_per_step : {std::size_t{1}, std::size_t{5}, std::size_t{128}}) {
            const SequenceId id = rig->open();
            draft->clear(id);
            feed(id, std::span(sequence).first(context), rows_per_step);
            const std::vector<float> logits = draft->logits({id, sequence[context]});
            ASSERT_EQ(logits.size(), expected.size());
            ASSERT_EQ(logits.size(), draft->block() * vocabulary);
            float worst = 0;
            for (std::size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, std::abs(logits[i] - expected[i]));
            EXPECT_LT(worst, tolerance) << "context " << context << ", " << rows_per_step << " rows a step";
            rig->runner->close(id);
        }
    }
}

TEST_P(Dflash, ProposalsAreTheBestOfTheLogitsForSeveralSequencesAtOnce) {
    const SequenceId first = rig->open(), second = rig->open();
    feed(first, std::span(sequence).first(24), 128);
    feed(second, std::span(sequence).first(48), 7);
    const std::vector<float> alone[] = {draft->logits({first, sequence[24]}), draft->logits({second, sequence[48]})};
    const DraftRunner::Block blocks[] = {{first, sequence[24]}, {second, sequence[48]}};
    draft->propose(blocks, 3, 4);
    const std::size_t vocabulary = rig->runner->vocabulary();
    for (std::size_t block = 0; block < 2; ++block) {
        for (std::size_t depth = 1; depth <= 3; ++depth) {
            const std::span<const float> row(alone[block].data() + depth * vocabulary, vocabulary);
            double total = 0;
            for (const float logit : row) total += std::exp(double{logit});
            ASSERT_EQ(draft->tokens(block, depth).size(), 4u);
            float before = std::numeric_limits<float>::infinity();
            for (std::size_t rank = 0; rank < 4; ++rank) {
                const float logit = row[static_cast<std::size_t>(draft->tokens(block, depth)[rank])];
                EXPECT_LE(logit, before);
                EXPECT_NEAR(draft->logprobs(block, depth)[rank], logit - std::log(total), 1e-4);
                EXPECT_EQ(std::ranges::count_if(row, [&](float other) { return other > logit; }), static_cast<long>(rank));
                before = logit;
            }
        }
    }
}

TEST_P(Dflash, APartOfTheHeadGuessesTheBestOfThatPart) {
    constexpr std::size_t part = 101; // no multiple of anything
    const SequenceId id = rig->open();
    feed(id, std::span(sequence).first(24), 128);
    const std::vector<float> whole = draft->logits({id, sequence[24]});
    rig->runner->close(id);
    draft = load(part);
    ASSERT_EQ(draft->head_tokens(), part);
    EXPECT_GT(draft->weight_bytes(), draft->draft().weight_bytes());
    const SequenceId again = rig->open();
    draft->clear(again);
    feed(again, std::span(sequence).first(24), 128);
    const DraftRunner::Block block{again, sequence[24]};
    const std::vector<float> logits = draft->logits(block);
    ASSERT_EQ(logits.size(), draft->block() * part);
    draft->propose({&block, 1}, 3, 2);
    const std::size_t vocabulary = rig->runner->vocabulary();
    for (std::size_t row = 0; row < draft->block(); ++row) {
        const std::span<const float> got(logits.data() + row * part, part), expected(whole.data() + row * vocabulary, part);
        for (std::size_t i = 0; i < part; ++i) {
            // The GPU splits sums by the matrix's shape, the CPU does not.
            ASSERT_NEAR(got[i], expected[i], GetParam().on == On::cuda ? 1e-2f : 0.0f) << "row " << row << ", token " << i;
        }
        if (row < 1 || row > 3) continue;
        EXPECT_EQ(static_cast<std::size_t>(draft->tokens(0, row)[0]), best(got));
    }
}

TEST_P(Dflash, TheTraceOfAGreedyChainAgrees) {
    const auto length = trace["prompt_len"].get<std::size_t>();
    const SequenceId id = rig->open();
    feed(id, std::span(sequence).first(length - 1), 128);
    TokenId next = static_cast<TokenId>(best(rig->feed(id, std::span(sequence).subspan(length - 1, 1), 1).back()));
    draft->append(id, std::vector<std::int32_t>{0});
    std::vector<TokenId> text{next};
    for (const auto& step : trace["steps"]) {
        ASSERT_EQ(rig->runner->length(id), step["start"].get<std::size_t>());
        const DraftRunner::Block block{id, next};
        draft->propose({&block, 1}, draft->block() - 1, 1);
        std::vector<Row> rows{{id, next, -1, true}};
        const auto proposed = step["draft"].get<std::vector<TokenId>>();
        const auto accepted = step["accepted"].get<std::size_t>();
        for (std::size_t depth = 1; depth < draft->block(); ++depth) {
            rows.push_back({id, draft->tokens(0, depth)[0], static_cast<std::int32_t>(depth) - 1, true});
            if (depth <= accepted + 1) {
                ASSERT_EQ(rows.back().token, proposed[depth - 1]) << "step at " << step["start"];
            }
        }
        ASSERT_TRUE(rig->runner->step(rows, Commit::later));
        std::vector<std::int32_t> path{0};
        next = static_cast<TokenId>(best(rig->runner->logits(0)));
        while (path.size() < rows.size() && rows[path.size()].token == next) {
            path.push_back(static_cast<std::int32_t>(path.size()));
            text.push_back(next);
            next = static_cast<TokenId>(best(rig->runner->logits(path.size() - 1)));
        }
        ASSERT_EQ(path.size() - 1, accepted) << "step at " << step["start"];
        text.push_back(next);
        ASSERT_TRUE(rig->runner->commit(id, path));
        draft->append(id, path);
    }
    auto expected = trace["tokens"].get<std::vector<TokenId>>();
    text.resize(std::min(text.size(), expected.size()));
    EXPECT_EQ(text, expected);
}

INSTANTIATE_TEST_SUITE_P(All, Dflash,
                         ::testing::Values(Case{"dflash-qwen3", "draft", "draft.gguf", On::cpu},
                                           Case{"dflash-qwen3", "draft", "draft.gguf", On::reference},
                                           Case{"dflash-qwen3", "draft", "draft", On::cpu},
                                           Case{"dflash-qwen35", "draft", "draft.gguf", On::cpu},
                                           Case{"dflash-qwen35", "draft_swa", "draft_swa.gguf", On::cpu},
                                           Case{"dflash-qwen35", "draft_swa", "draft_swa.gguf", On::reference},
                                           Case{"dflash-qwen35", "draft_swa", "draft_swa", On::cpu},
                                           Case{"dflash-qwen3", "draft", "draft.gguf", On::cuda},
                                           Case{"dflash-qwen3", "draft", "draft", On::cuda},
                                           Case{"dflash-qwen35", "draft", "draft.gguf", On::cuda},
                                           Case{"dflash-qwen35", "draft_swa", "draft_swa.gguf", On::cuda}),
                         case_name);

// With F32 this is of the widening alone, which must change nothing.
TEST(DflashConverted, AWiderDraftSaysTheSameAndOneOfFewerBitsNearlySo) {
    const auto folder = oracle_path("dflash-qwen3");
    const std::vector<TokenId> sequence = must(read_npy_tokens(folder / "sequence.npy"));
    constexpr std::size_t context = 48;
    const std::vector<float> expected = floats(folder / fmt::format("draft_logits_ctx{}.npy", context));
    Rig rig(folder / "model.gguf", {.context = 256, .sequences = 1, .rows = 128, .kv_type = {}});
    struct Rounded {
        gguf::TensorType type;
        float tolerance; // of logits up to 10
        long tensors;    // of that type, norms included
    };
    using enum gguf::TensorType;
    for (const Rounded& rounded : {Rounded{f32, logit_tolerance, 36}, Rounded{q8_0, 0.3f, 22}, Rounded{q4_k, 1.0f, 6}}) {
        const auto file = converted_draft(folder / "draft.gguf", rounded.type);
        ASSERT_TRUE(file) << file.error().message;
        EXPECT_EQ(std::ranges::count(file->tensors(), rounded.type, &gguf::Tensor::type), rounded.tensors);
        const auto loaded = DraftRunner::load(*file, *rig.device, *rig.runner);
        ASSERT_TRUE(loaded) << loaded.error().message;
        DraftRunner& draft = **loaded;
        const SequenceId id = rig.open();
        rig.feed(id, std::span(sequence).first(context), context);
        std::vector<std::int32_t> rows(context);
        std::iota(rows.begin(), rows.end(), 0);
        draft.append(id, rows);
        const std::vector<float> logits = draft.logits({id, sequence[context]});
        rig.runner->close(id);
        ASSERT_EQ(logits.size(), expected.size());
        float worst = 0;
        for (std::size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, std::abs(logits[i] - expected[i]));
        EXPECT_LT(worst, rounded.tolerance) << gguf::block_format(rounded.type).name;
    }
}

TEST(DflashMismatch, ADraftOfAnotherModelIsRefusedWithBothValues) {
    const auto refusal = [](const char* target, const std::filesystem::path& draft) -> std::string {
        Rig rig(oracle_path(target) / "model.gguf");
        const auto file = DflashFile::open(draft);
        EXPECT_TRUE(file) << (file ? "" : file.error().message);
        const auto loaded = DraftRunner::load(*file, *rig.device, *rig.runner);
        return loaded ? "" : loaded.error().message;
    };
    const auto draft = oracle_path("dflash-qwen3") / "draft.gguf"; // width 64, vocabulary 304, layers 1, 2, 4
    EXPECT_EQ(refusal("dflash-qwen3", draft), "");
    EXPECT_EQ(refusal("dflash-qwen35", draft), "the draft has a vocabulary of 304, the model of 288");
    EXPECT_EQ(refusal("qwen35-r3", draft), "the draft has width 64, the model has width 32");
}

TEST(DflashMismatch, TheModelsHeaderAloneTells) {
    const auto target = [](const char* folder) {
        const auto file = gguf::ModelFile::open(oracle_path(folder) / "model.gguf");
        const auto found = file ? dflash_target(*file) : file.error();
        EXPECT_TRUE(found) << folder;
        return found ? *found : DflashTarget{};
    };
    for (const char* folder : {"dflash-qwen3", "qwen35-mtp", "gemma3"}) {
        const Rig rig(oracle_path(folder) / "model.gguf");
        const DflashTarget found = target(folder);
        EXPECT_EQ(found.width, rig.runner->model().width()) << folder;
        EXPECT_EQ(found.vocabulary, rig.runner->model().vocabulary().size()) << folder;
        EXPECT_EQ(found.layers, rig.runner->model().layer_count()) << folder;
    }
    const auto file = DflashFile::open(oracle_path("dflash-qwen3") / "draft.gguf");
    ASSERT_TRUE(file);
    DflashConfig draft = file->config();
    EXPECT_TRUE(check_fits(draft, target("dflash-qwen3")));
    draft.architecture = "gemma4-dflash-draft";
    const Status other = check_fits(draft, target("dflash-qwen3"));
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().message, "the draft is a gemma4-dflash-draft, the model is of the architecture qwen3");
}

TEST(DflashMismatch, ALayerThatTheModelLacksIsNamed) {
    const auto source = oracle_path("dflash-qwen3") / "draft";
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("lucebox_draft_{}", ::getpid());
    std::filesystem::create_directories(folder);
    std::filesystem::copy_file(source / "model.safetensors", folder / "model.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
    auto config = nlohmann::json::parse(std::ifstream(source / "config.json"));
    config["dflash_config"]["target_layer_ids"] = {1, 2, 6};
    std::ofstream(folder / "config.json") << config.dump();
    Rig rig(oracle_path("dflash-qwen3") / "model.gguf");
    const auto file = DflashFile::open(folder);
    std::filesystem::remove_all(folder);
    ASSERT_TRUE(file) << file.error().message;
    const auto loaded = DraftRunner::load(*file, *rig.device, *rig.runner);
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().message, "the draft reads layer 6 of a model that has layers 0 to 5");
}

TEST(DflashFileTest, WhatIsNoDraftIsRefused) {
    const auto message = [](const std::filesystem::path& path) {
        const auto file = DflashFile::open(path);
        return file ? std::string() : file.error().message;
    };
    EXPECT_NE(message(oracle_path("qwen3") / "model.gguf").find("is no DFlash draft: its architecture is 'qwen3'"), std::string::npos);
    EXPECT_NE(message(oracle_path("qwen3")), "");
    EXPECT_NE(message("tests/data/oracle/none.gguf"), "");
}

// Its converter counts the target's layers where others count those that are read, and the draft is the same.
TEST(DflashFileTest, ADraftForGemmaSaysTheSameUnderItsOwnName) {
    const auto path = oracle_path("dflash-qwen35") / "draft_swa.gguf";
    const auto source = gguf::ModelFile::open(path);
    const auto plain = DflashFile::open(path);
    ASSERT_TRUE(source && plain);
    const std::string before = plain->config().architecture + ".", name = "gemma4-dflash-draft";
    ASSERT_NE(plain->config().architecture, name);
    gguf::ModelWriter writer;
    for (const std::string_view key : source->keys()) {
        const std::string renamed = key.starts_with(before) ? fmt::format("{}.{}", name, key.substr(before.size())) : std::string(key);
        writer.set_encoded(renamed, source->encoded_metadata(key));
    }
    writer.set("general.architecture", name);
    writer.set(name + ".dflash.n_target_layers", std::uint32_t{60});
    for (const gguf::Tensor& tensor : source->tensors()) ASSERT_TRUE(writer.add_tensor(tensor.name, tensor.type, tensor.shape));
    const auto target = std::filesystem::temp_directory_path() / fmt::format("lucebox_gemma_draft_{}.gguf", ::getpid());
    ASSERT_TRUE(writer.begin(target));
    for (const gguf::Tensor& tensor : source->tensors()) ASSERT_TRUE(writer.write(tensor.data));
    ASSERT_TRUE(writer.finish());
    const auto gemma = DflashFile::open(target);
    std::filesystem::remove(target);
    ASSERT_TRUE(gemma) << gemma.error().message;
    const DflashConfig &is = gemma->config(), &was = plain->config();
    EXPECT_EQ(is.architecture, name);
    EXPECT_EQ(is.target_layers, was.target_layers);
    EXPECT_EQ(is.sliding, was.sliding);
    EXPECT_EQ(std::tie(is.width, is.layers, is.inner, is.heads, is.kv_heads, is.head_dim, is.vocabulary, is.block, is.mask_token, is.window),
              std::tie(was.width, was.layers, was.inner, was.heads, was.kv_heads, was.head_dim, was.vocabulary, was.block, was.mask_token, was.window));
    ASSERT_EQ(gemma->tensors().size(), plain->tensors().size());
    for (std::size_t i = 0; i < gemma->tensors().size(); ++i) {
        EXPECT_EQ(gemma->tensors()[i].name, plain->tensors()[i].name);
        EXPECT_TRUE(std::ranges::equal(gemma->tensors()[i].data, plain->tensors()[i].data));
    }
}

} // namespace
} // namespace lucebox::model::testing
