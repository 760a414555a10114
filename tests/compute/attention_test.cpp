// Attention against its definition in double: every visible token's score, softmax, weighted sum. For both sets of
// kernels, many head sizes and groupings, paths and trees, windows, norms, rotations and gates.
#include "device_rig.h"

#include <fmt/format.h>

namespace lucebox::compute::testing {
namespace {

struct Shape {
    std::size_t heads, kv_heads, head_dim, rotated;
    bool adjacent, norms, gated;
    std::size_t window;
    DType type;
};
void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.heads << " / " << shape.kv_heads << " heads of " << shape.head_dim; }

std::string name_of(const Shape& s) {
    return fmt::format("{}x{}_dim{}_rot{}{}{}{}_win{}_{}", s.heads, s.kv_heads, s.head_dim, s.rotated, s.adjacent ? "_adjacent" : "",
                       s.norms ? "_norms" : "", s.gated ? "_gated" : "", s.window, dtype_name(s.type));
}

class AttentionOp : public ::testing::TestWithParam<std::tuple<bool, Shape>> {
protected:
    static constexpr std::size_t slots = 3, capacity = 400;
    DeviceRig rig{std::get<0>(GetParam())};
    const Shape shape = std::get<1>(GetParam());
    AttentionArgs args;
    Rope rope;
    Vector q_norm, k_norm;
    const gguf::Tensor* norm_tensors[2] = {};

    struct Token { // as it is cached: normed, rotated, rounded
        std::vector<double> k, v;
    };
    std::vector<Token> history[slots]; // the committed tokens of each slot

    void SetUp() override {
        rope.dimensions = shape.rotated;
        rope.adjacent_pairs = shape.adjacent;
        rope.magnitude = 1.1;
        for (std::size_t i = 0; i < shape.rotated / 2; ++i) {
            rope.frequency.push_back(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(shape.rotated)));
        }
        args.heads = shape.heads;
        args.rope = &rope;
        args.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head_dim)));
        args.window = shape.window;
        args.gated = shape.gated;
        args.epsilon = 1e-6f;
        if (shape.norms) {
            q_norm = rig.vector(*(norm_tensors[0] = &rig.tensor(shape.head_dim, 1)));
            k_norm = rig.vector(*(norm_tensors[1] = &rig.tensor(shape.head_dim, 1)));
            args.q_norm = &q_norm;
            args.k_norm = &k_norm;
        }
        args.cache = {nullptr, nullptr, shape.type, slots, capacity, shape.kv_heads, shape.head_dim};
        const KvBytes bytes = rig.device->kv_bytes(args.cache);
        args.cache.k = rig.memory(bytes.k);
        args.cache.v = rig.memory(bytes.v);
    }

    // A head as the cache keeps it.
    std::vector<double> stored(std::vector<double> head) const {
        for (std::size_t begin = 0; shape.type == DType::q8_0 && begin < head.size(); begin += kv_block) {
            const std::span block = std::span(head).subspan(begin, std::min(kv_block, head.size() - begin));
            double largest = 0;
            for (const double value : block) largest = std::max(largest, std::fabs(value));
            const double scale = largest / 127, kept = gguf::f16_to_f32(gguf::f32_to_f16(static_cast<float>(scale)));
            for (double& value : block) value = kept * std::nearbyint(value / scale);
        }
        for (double& value : head) {
            if (shape.type == DType::f16) value = gguf::f16_to_f32(gguf::f32_to_f16(static_cast<float>(value)));
        }
        return head;
    }

    std::vector<double> normed_and_rotated(const float* head, const gguf::Tensor* norm, std::int32_t position) const {
        std::vector<double> x(head, head + shape.head_dim);
        if (norm) {
            double sum = 0;
            for (const double value : x) sum += value * value;
            const double factor = 1 / std::sqrt(sum / static_cast<double>(x.size()) + 1e-6);
            for (std::size_t i = 0; i < x.size(); ++i) x[i] *= factor * DeviceRig::floats(*norm)[i];
        }
        const std::size_t pairs = shape.rotated / 2;
        for (std::size_t i = 0; i < pairs; ++i) {
            double& a = x[shape.adjacent ? 2 * i : i];
            double& b = x[shape.adjacent ? 2 * i + 1 : i + pairs];
            const double angle = position * rope.frequency[i], c = std::cos(angle) * 1.1, s = std::sin(angle) * 1.1;
            const double x0 = a, x1 = b;
            a = x0 * c - x1 * s;
            b = x1 * c + x0 * s;
        }
        return x;
    }

    // Runs a step on random activations and compares every row.
    void step(const StepPlan& plan) {
        const std::size_t rows = plan.size(), dim = shape.head_dim, stride = shape.gated ? 2 * dim : dim;
        Values q = rig.values(rows, shape.heads * stride), k = rig.values(rows, shape.kv_heads * dim),
               v = rig.values(rows, shape.kv_heads * dim), out(rows, shape.heads * dim);
        const Values q_in = q, k_in = k;
        args.q = q.tensor();
        args.k = k.tensor();
        args.v = v.tensor();
        args.out = out.tensor();
        rig.device->begin_step(plan);
        rig.device->attention(args);
        rig.device->end_step();

        for (const PlanSequence& sequence : plan.sequences) {
            std::vector<std::vector<Token>> texts; // of every row: committed tokens, ancestors, itself
            for (std::int32_t local = 0; local < sequence.rows; ++local) {
                const auto row = static_cast<std::size_t>(sequence.first_row + local);
                const PlanRow& plan_row = plan.rows[row];
                std::vector<Token> text =
                    plan_row.parent < 0 ? history[sequence.slot] : texts[static_cast<std::size_t>(plan_row.parent)];
                Token token;
                for (std::size_t head = 0; head < shape.kv_heads; ++head) {
                    const auto key = stored(normed_and_rotated(&k_in.at[row * k.width + head * dim], norm_tensors[1], plan_row.position));
                    const auto value = stored({&v.at[row * v.width + head * dim], &v.at[row * v.width + head * dim] + dim});
                    token.k.insert(token.k.end(), key.begin(), key.end());
                    token.v.insert(token.v.end(), value.begin(), value.end());
                }
                text.push_back(std::move(token));
                ASSERT_EQ(text.size(), static_cast<std::size_t>(plan_row.position) + 1);
                compare(q_in, out, row, text, plan_row.position);
                texts.push_back(std::move(text));
            }
            if (sequence.commit_now) history[sequence.slot] = texts.back();
        }
    }

    void compare(const Values& q_in, const Values& out, std::size_t row, const std::vector<Token>& text, std::int32_t position) {
        const std::size_t dim = shape.head_dim, stride = shape.gated ? 2 * dim : dim;
        const std::size_t begin = shape.window && text.size() > shape.window ? text.size() - shape.window : 0;
        for (std::size_t head = 0; head < shape.heads; ++head) {
            const float* at = &q_in.at[row * q_in.width + head * stride];
            const auto query = normed_and_rotated(at, norm_tensors[0], position);
            const std::size_t kv = head / (shape.heads / shape.kv_heads) * dim;
            std::vector<double> weights;
            double total = 0;
            for (std::size_t token = begin; token < text.size(); ++token) {
                double score = 0;
                for (std::size_t i = 0; i < dim; ++i) score += query[i] * text[token].k[kv + i];
                weights.push_back(std::exp(score * args.scale));
                total += weights.back();
            }
            for (std::size_t i = 0; i < dim; ++i) {
                double sum = 0;
                for (std::size_t j = 0; j < weights.size(); ++j) sum += weights[j] * text[begin + j].v[kv + i];
                double expected = sum / total;
                if (shape.gated) expected *= sigmoid(at[dim + i]);
                // A key that rounds the other way moves scores by 2^-11 of their size; of q8_0, by a step of 1/127 in one of
                // head_dim products.
                const double tolerance = shape.type == DType::q8_0 ? 8e-3 : shape.type == DType::f16 ? 4e-3 : 5e-5;
                ASSERT_NEAR(out(row, head * dim + i), expected, tolerance) << "row " << row << ", head " << head << ", position " << position;
            }
        }
    }
};

TEST_P(AttentionOp, IsSoftmaxOverWhatARowSees) {
    StepPlan prompt; // two prompts of different lengths, around borders of blocks of 16 and 64
    add_sequence(prompt, 0, 0, 130, true);
    add_sequence(prompt, 2, 0, 15, true);
    step(prompt);
    for (int i = 0; i < 3; ++i) { // plain decoding beside each other
        StepPlan decode;
        add_sequence(decode, 2, 15 + i, 1, true);
        add_sequence(decode, 0, 130 + i, 1, true);
        step(decode);
    }
    StepPlan trees; // trees of any form beside a path; none of it stays
    add_sequence(trees, 0, 133, 64, false, random_parents(rig.random, 64));
    add_sequence(trees, 1, 0, 20, false, random_parents(rig.random, 20));
    add_sequence(trees, 2, 18, 9, false);
    step(trees);
    StepPlan after;
    add_sequence(after, 0, 133, 70, true);
    step(after);
}

TEST_P(AttentionOp, MovedTokensAreSeenWhereTheyWentTo) {
    StepPlan text;
    add_sequence(text, 1, 0, 25, true);
    step(text);
    const std::vector<std::int32_t> kept{0, 2, 4}; // of the last five
    rig.device->move_tokens(args.cache, 1, 20, kept);
    const std::vector<Token> before = history[1];
    history[1].resize(20);
    for (const std::int32_t from : kept) history[1].push_back(before[20 + static_cast<std::size_t>(from)]);
    StepPlan next;
    add_sequence(next, 1, 23, 3, true);
    step(next);
}

constexpr Shape shapes[] = {
    // heads, kv heads, dim, rotated, adjacent, norms, gated, window, type
    {1, 1, 16, 16, false, false, false, 0, DType::f32},   {3, 1, 64, 64, true, false, false, 0, DType::f32},
    {9, 3, 64, 64, true, false, false, 0, DType::f16},    {4, 4, 32, 32, false, true, false, 0, DType::f32},
    {5, 1, 128, 128, false, true, false, 0, DType::f16},  {4, 1, 256, 256, false, true, false, 16, DType::f16},
    {6, 2, 256, 64, false, true, true, 0, DType::f32},    {2, 1, 96, 96, false, false, false, 33, DType::f32},
    {7, 7, 80, 40, false, false, true, 0, DType::f16},    {2, 2, 24, 8, true, true, true, 1, DType::f32},
    {16, 1, 48, 48, false, false, false, 64, DType::f32},
    {6, 1, 256, 64, false, true, true, 0, DType::q8_0},   {9, 3, 64, 64, true, false, false, 0, DType::q8_0},
    {7, 7, 80, 40, false, false, true, 0, DType::q8_0},   {4, 2, 128, 128, false, true, false, 33, DType::q8_0},
    {2, 1, 24, 8, true, true, false, 0, DType::q8_0},
};

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionOp, ::testing::Combine(::testing::Bool(), ::testing::ValuesIn(shapes)),
                         [](const auto& instance) {
                             return (std::get<0>(instance.param) ? "reference_" : "fast_") + name_of(std::get<1>(instance.param));
                         });

} // namespace
} // namespace lucebox::compute::testing
