// The plan for whole models, against the sizes and type counts of published files.
#include "gguf/quantise_mix.h"

#include <gtest/gtest.h>
#include <map>

namespace lucebox::gguf {
namespace {

using enum TensorType;

class ModelShape {
public:
    void vector(const std::string& name, std::uint64_t size) { tensors_.push_back({name, f32, {size, 1, 1, 1}, {}}); }
    void matrix(const std::string& name, std::uint64_t in, std::uint64_t out, TensorType type = f16) {
        tensors_.push_back({name, type, {in, out, 1, 1}, {}});
    }
    std::span<const Tensor> tensors() const { return tensors_; }

private:
    std::vector<Tensor> tensors_;
};

struct Plan {
    std::map<TensorType, int> counts;
    std::uint64_t bytes = 0;
    std::map<std::string, TensorType> types;
};

Plan plan(const ModelShape& model, std::uint64_t blocks, std::string_view mix) {
    Plan out;
    const auto types = plan_types(model.tensors(), blocks, *find_mix(mix));
    for (std::size_t i = 0; i < types.size(); ++i) {
        const Tensor& tensor = model.tensors()[i];
        ++out.counts[types[i]];
        out.bytes += tensor.elements() / block_format(types[i]).elements * block_format(types[i]).bytes;
        out.types[tensor.name] = types[i];
    }
    return out;
}

struct Qwen35 {
    std::uint64_t blocks, width, ffn, heads, kv_heads, value_heads;
    bool tied;
};

ModelShape qwen35(const Qwen35& m) {
    constexpr std::uint64_t vocabulary = 248'320, head = 256, state = 128, key_heads = 16;
    const std::uint64_t inner = m.value_heads * state;
    const std::uint64_t mixed = 2 * key_heads * state + inner;
    ModelShape out;
    out.matrix("token_embd.weight", m.width, vocabulary);
    out.vector("output_norm.weight", m.width);
    if (!m.tied) out.matrix("output.weight", m.width, vocabulary);
    for (std::uint64_t i = 0; i < m.blocks; ++i) {
        const std::string blk = "blk." + std::to_string(i) + ".";
        out.vector(blk + "attn_norm.weight", m.width);
        out.vector(blk + "post_attention_norm.weight", m.width);
        out.matrix(blk + "ffn_gate.weight", m.width, m.ffn);
        out.matrix(blk + "ffn_up.weight", m.width, m.ffn);
        out.matrix(blk + "ffn_down.weight", m.ffn, m.width);
        if (i % 4 == 3) {
            out.matrix(blk + "attn_q.weight", m.width, 2 * m.heads * head);
            out.matrix(blk + "attn_k.weight", m.width, m.kv_heads * head);
            out.matrix(blk + "attn_v.weight", m.width, m.kv_heads * head);
            out.vector(blk + "attn_q_norm.weight", head);
            out.vector(blk + "attn_k_norm.weight", head);
            out.matrix(blk + "attn_output.weight", m.heads * head, m.width);
            continue;
        }
        out.matrix(blk + "attn_qkv.weight", m.width, mixed);
        out.matrix(blk + "attn_gate.weight", m.width, inner);
        out.matrix(blk + "ssm_alpha.weight", m.width, m.value_heads);
        out.matrix(blk + "ssm_beta.weight", m.width, m.value_heads);
        out.matrix(blk + "ssm_conv1d.weight", 4, mixed, f32);
        out.vector(blk + "ssm_a", m.value_heads);
        out.vector(blk + "ssm_dt.bias", m.value_heads);
        out.vector(blk + "ssm_norm.weight", state);
        out.matrix(blk + "ssm_out.weight", inner, m.width);
    }
    return out;
}

ModelShape gemma3(std::uint64_t blocks, std::uint64_t width, std::uint64_t ffn, std::uint64_t heads,
                  std::uint64_t kv_heads) {
    ModelShape out;
    out.matrix("token_embd.weight", width, 262'144);
    out.vector("output_norm.weight", width);
    for (std::uint64_t i = 0; i < blocks; ++i) {
        const std::string blk = "blk." + std::to_string(i) + ".";
        for (const char* name : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) {
            out.vector(blk + name + ".weight", width);
        }
        out.vector(blk + "attn_q_norm.weight", 256);
        out.vector(blk + "attn_k_norm.weight", 256);
        out.matrix(blk + "attn_q.weight", width, heads * 256);
        out.matrix(blk + "attn_k.weight", width, kv_heads * 256);
        out.matrix(blk + "attn_v.weight", width, kv_heads * 256);
        out.matrix(blk + "attn_output.weight", heads * 256, width);
        out.matrix(blk + "ffn_gate.weight", width, ffn);
        out.matrix(blk + "ffn_up.weight", width, ffn);
        out.matrix(blk + "ffn_down.weight", ffn, width);
    }
    return out;
}

TEST(QuantiseMix, Q4KMHasTheSizeOfPublishedQwen35Files) {
    const Plan large = plan(qwen35({64, 5120, 17408, 24, 4, 48, false}), 64, "Q4_K_M");
    EXPECT_EQ(large.bytes, 16'536'406'016u);
    EXPECT_EQ(large.counts, (std::map<TensorType, int>{{f32, 353}, {q4_k, 433}, {q6_k, 65}}));
    EXPECT_EQ(plan(qwen35({32, 4096, 12288, 16, 4, 32, false}), 32, "Q4_K_M").bytes, 5'618'141'184u);
    EXPECT_EQ(plan(qwen35({32, 2560, 9216, 16, 4, 32, true}), 32, "Q4_K_M").bytes, 2'697'836'544u);
    EXPECT_EQ(plan(qwen35({24, 1024, 3584, 8, 2, 16, true}), 24, "Q4_K_M").bytes, 518'335'744u);
}

TEST(QuantiseMix, Q4KMFallsBackByRowLengthAsPublishedGemmaFilesDo) {
    const Plan small = plan(gemma3(18, 640, 2048, 4, 1), 18, "Q4_K_M");
    EXPECT_EQ(small.counts, (std::map<TensorType, int>{{f32, 109}, {q4_k, 27}, {q5_0, 81}, {q6_k, 9}, {q8_0, 10}}));
    EXPECT_EQ(small.bytes, 246'587'904u);
    EXPECT_EQ(plan(gemma3(26, 1152, 6912, 4, 1), 26, "Q4_K_M").bytes, 799'525'120u);
    EXPECT_EQ(plan(gemma3(34, 2560, 10240, 8, 4), 34, "Q4_K_M").bytes, 2'483'218'432u);
}

TEST(QuantiseMix, OuterBlocksGetTheExtraBits) {
    const Plan large = plan(qwen35({64, 5120, 17408, 24, 4, 48, false}), 64, "Q4_K_M");
    for (int i = 0; i < 64; ++i) {
        const bool outer = i < 8 || i >= 56 || (i >= 10 && (i - 10) % 3 == 0);
        const std::string blk = "blk." + std::to_string(i) + ".";
        EXPECT_EQ(large.types.at(blk + "ffn_down.weight"), outer ? q6_k : q4_k) << i;
        EXPECT_EQ(large.types.at(blk + (i % 4 == 3 ? "attn_v.weight" : "attn_qkv.weight")), outer ? q6_k : q4_k) << i;
    }
}

TEST(QuantiseMix, ValuesAreCountedWhereTheyExistAndNotByBlock) {
    ModelShape model;
    for (int i = 15; i >= 0; --i) { // in any file order
        const std::string blk = "blk." + std::to_string(i) + ".";
        if (i % 2 == 1) model.matrix(blk + "attn_v.weight", 256, 256);
    }
    const Plan out = plan(model, 16, "Q4_K_M"); // 8 values: the 1st, the last, and 3, 6 (counted from 0) are outer
    for (int w = 0; w < 8; ++w) {
        const bool outer = w == 0 || w == 7 || (w - 1) % 3 == 2;
        EXPECT_EQ(out.types.at("blk." + std::to_string(2 * w + 1) + ".attn_v.weight"), outer ? q6_k : q4_k) << w;
    }
}

TEST(QuantiseMix, SmallMixesFavourTheFirstBlocks) {
    const Plan out = plan(qwen35({64, 5120, 17408, 24, 4, 48, false}), 64, "Q4_K_S");
    for (int i = 0; i < 64; ++i) {
        const std::string blk = "blk." + std::to_string(i) + ".";
        EXPECT_EQ(out.types.at(blk + "ffn_down.weight"), i < 8 ? q5_k : q4_k) << i;
        EXPECT_EQ(out.types.at(blk + (i % 4 == 3 ? "attn_v.weight" : "attn_qkv.weight")), i < 4 ? q5_k : q4_k) << i;
    }
    EXPECT_EQ(out.types.at("output.weight"), q6_k);
    EXPECT_EQ(out.types.at("token_embd.weight"), q4_k);
}

TEST(QuantiseMix, SmallAndSensitiveTensorsKeepTheirType) {
    ModelShape model;
    model.vector("blk.0.attn_norm.weight", 256);
    model.matrix("blk.0.odd_norm.weight", 256, 256, f32);
    model.matrix("blk.0.ffn_gate_inp.weight", 256, 32, bf16);
    model.matrix("blk.0.ssm_conv1d.weight", 256, 256, f32);
    model.matrix("blk.0.ffn_down_exps.scale", 256, 256, f32);
    model.matrix("per_layer_model_proj.weight", 256, 256, bf16);
    model.matrix("blk.0.attn_q.weight", 256, 256, f32);
    for (const Mix& mix : all_mixes()) {
        const Plan out = plan(model, 1, mix.name);
        EXPECT_EQ(out.types.at("blk.0.attn_q.weight"), mix.base) << mix.name;
        EXPECT_EQ(out.types.at("blk.0.attn_norm.weight"), f32);
        EXPECT_EQ(out.types.at("blk.0.odd_norm.weight"), f32);
        EXPECT_EQ(out.types.at("blk.0.ffn_gate_inp.weight"), bf16);
        EXPECT_EQ(out.types.at("blk.0.ssm_conv1d.weight"), f32);
        EXPECT_EQ(out.types.at("blk.0.ffn_down_exps.scale"), f32);
        EXPECT_EQ(out.types.at("per_layer_model_proj.weight"), bf16);
    }
}

TEST(QuantiseMix, ADraftsInputProjectionKeepsEightBits) {
    ModelShape model;
    model.matrix("dflash.fc.weight", 1024, 256);
    EXPECT_EQ(plan(model, 3, "Q4_K_M").types.at("dflash.fc.weight"), q8_0);
    EXPECT_EQ(plan(model, 3, "Q8_0").types.at("dflash.fc.weight"), q8_0);
    EXPECT_EQ(plan(model, 3, "F16").types.at("dflash.fc.weight"), f16);
}

TEST(QuantiseMix, AUniformTypeGoesEverywhere) {
    ModelShape model;
    model.matrix("output.weight", 256, 256);
    model.matrix("blk.0.ffn_down.weight", 256, 256);
    model.matrix("blk.0.attn_v.weight", 96, 256);
    model.matrix("blk.0.attn_k.weight", 100, 256);
    const auto types = plan_types(model.tensors(), 1, uniform_mix(q4_k));
    EXPECT_EQ(types, (std::vector<TensorType>{q4_k, q4_k, q5_0, f16}));
    EXPECT_EQ(uniform_mix(q8_0).file_type, 7u);
}

TEST(QuantiseMix, NamesAreFoundInAnyCase) {
    ASSERT_NE(find_mix("q4_k_m"), nullptr);
    EXPECT_EQ(find_mix("q4_k_m")->file_type, 15u);
    EXPECT_EQ(find_mix("Q4_K"), nullptr);
    EXPECT_EQ(find_mix(""), nullptr);
}

} // namespace
} // namespace lucebox::gguf
