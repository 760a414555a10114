// Gated DeltaNet against its definition in double: convolution, normalisation, one delta update a token along each row's
// own path, norm and gate. Paths and trees, committed at once or later, for both sets of kernels.
#include "device_rig.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::compute::testing {
namespace {

struct Shape {
    std::size_t key_heads, value_heads, dim, conv_width;
};
void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.key_heads << " / " << shape.value_heads << " heads of " << shape.dim; }

class DeltaNetOp : public ::testing::TestWithParam<std::tuple<bool, Shape>> {
protected:
    static constexpr std::size_t slots = 2;
    DeviceRig rig{std::get<0>(GetParam())};
    const Shape shape = std::get<1>(GetParam());
    const std::size_t channels = (2 * shape.key_heads + shape.value_heads) * shape.dim;
    DeltaNetArgs args;
    Vector conv, a, dt_bias, norm;
    const gguf::Tensor *conv_tensor = nullptr, *a_tensor = nullptr, *dt_tensor = nullptr, *norm_tensor = nullptr;

    // What a text leaves behind, as the definition has it.
    struct State {
        std::vector<std::vector<double>> inputs; // of the convolution, oldest first
        std::vector<double> m;                   // [value_heads, dim (key), dim (value)]
    };
    State committed[slots];

    void SetUp() override {
        conv_tensor = &rig.tensor(shape.conv_width, channels, 0.5f);
        a_tensor = &rig.tensor(shape.value_heads, 1);
        for (float& value : std::span(const_cast<float*>(rig.floats(*a_tensor).data()), shape.value_heads)) value = -std::abs(value);
        dt_tensor = &rig.tensor(shape.value_heads, 1);
        norm_tensor = &rig.tensor(shape.dim, 1);
        conv = rig.vector(*conv_tensor);
        a = rig.vector(*a_tensor);
        dt_bias = rig.vector(*dt_tensor);
        norm = rig.vector(*norm_tensor);
        args.conv = &conv;
        args.a = &a;
        args.dt_bias = &dt_bias;
        args.norm = &norm;
        args.epsilon = 1e-6f;
        args.key_heads = shape.key_heads;
        args.value_heads = shape.value_heads;
        args.dim = shape.dim;
        args.conv_width = shape.conv_width;
        const auto floats = [&](std::size_t count) { return reinterpret_cast<float*>(rig.memory(count * sizeof(float))); };
        args.cache.state = floats(slots * shape.value_heads * shape.dim * shape.dim);
        args.cache.conv = floats(slots * (shape.conv_width - 1) * channels);
        args.cache.scratch = floats(slots * max_tree_rows * RecurrentView::scratch_width(channels, shape.value_heads));
        for (State& state : committed) state.m.assign(shape.value_heads * shape.dim * shape.dim, 0);
    }

    // Feeds one token to `state`; returns what the row must give.
    std::vector<double> feed(State& state, const Values& qkv, const Values& z, const Values& alpha, const Values& beta, std::size_t row) const {
        const std::size_t dim = shape.dim;
        state.inputs.emplace_back(&qkv.at[row * channels], &qkv.at[row * channels] + channels);
        std::vector<double> x(channels);
        for (std::size_t channel = 0; channel < channels; ++channel) {
            double sum = 0;
            for (std::size_t tap = 0; tap < shape.conv_width; ++tap) {
                const std::size_t back = shape.conv_width - 1 - tap;
                if (back >= state.inputs.size()) continue;
                sum += DeviceRig::floats(*conv_tensor)[channel * shape.conv_width + tap] *
                       state.inputs[state.inputs.size() - 1 - back][channel];
            }
            x[channel] = sum * sigmoid(sum);
        }
        for (std::size_t head = 0; head < 2 * shape.key_heads; ++head) {
            double sum = 0;
            for (std::size_t i = 0; i < dim; ++i) sum += x[head * dim + i] * x[head * dim + i];
            const double factor = 1 / std::sqrt(sum + 1e-6) / (head < shape.key_heads ? std::sqrt(static_cast<double>(dim)) : 1);
            for (std::size_t i = 0; i < dim; ++i) x[head * dim + i] *= factor;
        }
        std::vector<double> out(shape.value_heads * dim);
        for (std::size_t head = 0; head < shape.value_heads; ++head) {
            const double* q = &x[head % shape.key_heads * dim];
            const double* k = q + shape.key_heads * dim;
            const double* v = &x[(2 * shape.key_heads + head) * dim];
            double* m = &state.m[head * dim * dim];
            const double dt = std::log1p(std::exp(double{alpha(row, head)} + DeviceRig::floats(*dt_tensor)[head]));
            const double decay = std::exp(DeviceRig::floats(*a_tensor)[head] * dt), strength = sigmoid(beta(row, head));
            double squares = 0;
            std::vector<double> y(dim);
            for (std::size_t j = 0; j < dim; ++j) {
                double read = 0;
                for (std::size_t i = 0; i < dim; ++i) read += (m[i * dim + j] *= decay) * k[i];
                for (std::size_t i = 0; i < dim; ++i) y[j] += (m[i * dim + j] += k[i] * strength * (v[j] - read)) * q[i];
                squares += y[j] * y[j];
            }
            const double factor = 1 / std::sqrt(squares / static_cast<double>(dim) + 1e-6);
            for (std::size_t j = 0; j < dim; ++j) {
                const double gate = z(row, head * dim + j);
                out[head * dim + j] = y[j] * factor * DeviceRig::floats(*norm_tensor)[j] * gate * sigmoid(gate);
            }
        }
        return out;
    }

    // Runs a step on random activations, compares every row, and returns the state behind each.
    std::vector<State> step(const StepPlan& plan) {
        Values qkv = rig.values(plan.size(), channels), z = rig.values(plan.size(), shape.value_heads * shape.dim),
               alpha = rig.values(plan.size(), shape.value_heads), beta = rig.values(plan.size(), shape.value_heads),
               out(plan.size(), shape.value_heads * shape.dim);
        const Values qkv_in = qkv, z_in = z, alpha_in = alpha, beta_in = beta;
        args.qkv = qkv.tensor();
        args.z = z.tensor();
        args.alpha = alpha.tensor();
        args.beta = beta.tensor();
        args.out = out.tensor();
        rig.device->begin_step(plan);
        rig.device->delta_net(args);
        rig.device->end_step();
        std::vector<State> states;
        for (std::size_t row = 0; row < plan.size(); ++row) {
            const PlanRow& plan_row = plan.rows[row];
            const PlanSequence& sequence = plan.sequences[static_cast<std::size_t>(plan_row.sequence)];
            State state = plan_row.parent < 0 ? committed[sequence.slot]
                                              : states[static_cast<std::size_t>(sequence.first_row + plan_row.parent)];
            const auto expected = feed(state, qkv_in, z_in, alpha_in, beta_in, row);
            for (std::size_t i = 0; i < expected.size(); ++i) {
                EXPECT_NEAR(out(row, i), expected[i], 2e-3 * (0.05 + std::abs(expected[i]))) << "row " << row << " at " << i;
                if (::testing::Test::HasFailure()) return states;
            }
            states.push_back(std::move(state));
        }
        for (const PlanSequence& sequence : plan.sequences) {
            if (sequence.commit_now) committed[sequence.slot] = states[static_cast<std::size_t>(sequence.first_row + sequence.rows - 1)];
        }
        return states;
    }
};

TEST_P(DeltaNetOp, IsTheDeltaRuleAlongEachRowsPath) {
    StepPlan prompt;
    add_sequence(prompt, 0, 0, 70, true);
    add_sequence(prompt, 1, 0, 2, true);
    step(prompt);
    if (HasFailure()) return;

    StepPlan tree; // beside a plain token; then a path of the tree is accepted
    const auto parents = random_parents(rig.random, 40);
    add_sequence(tree, 1, 2, 1, true);
    add_sequence(tree, 0, 70, 40, false, parents);
    const auto states = step(tree);
    if (HasFailure()) return;
    std::vector<std::int32_t> path;
    for (std::int32_t local = 39; local >= 0; local = parents[static_cast<std::size_t>(local)]) path.push_back(local);
    std::ranges::reverse(path);
    committed[0] = states[1 + 39];

    // The next step folds the accepted rows in; then chains of which a beginning, and nothing, is accepted.
    auto length = static_cast<std::int32_t>(70 + path.size());
    for (const std::int32_t accepted : {3, 0, 5}) {
        StepPlan chain;
        add_sequence(chain, 0, length, 5, false);
        chain.sequences[0].pending = path;
        const auto behind = step(chain);
        if (HasFailure()) return;
        path.clear();
        for (std::int32_t local = 0; local < accepted; ++local) path.push_back(local);
        if (accepted > 0) committed[0] = behind[static_cast<std::size_t>(accepted - 1)];
        length += accepted;
    }
    StepPlan last;
    add_sequence(last, 0, length, 3, true);
    last.sequences[0].pending = path;
    add_sequence(last, 1, 3, 3, true);
    step(last);
    StepPlan behind;
    add_sequence(behind, 0, length + 3, 1, true);
    step(behind);
}

constexpr Shape shapes[] = {{1, 1, 16, 4}, {2, 4, 32, 4}, {2, 6, 128, 4}, {3, 3, 64, 2}, {1, 5, 24, 8}, {4, 4, 48, 3}};

INSTANTIATE_TEST_SUITE_P(Shapes, DeltaNetOp, ::testing::Combine(::testing::Bool(), ::testing::ValuesIn(shapes)),
                         [](const auto& instance) {
                             const Shape& s = std::get<1>(instance.param);
                             return fmt::format("{}_{}to{}_dim{}_conv{}", std::get<0>(instance.param) ? "reference" : "fast",
                                                s.key_heads, s.value_heads, s.dim, s.conv_width);
                         });

} // namespace
} // namespace lucebox::compute::testing
