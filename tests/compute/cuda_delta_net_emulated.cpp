// The DeltaNet kernels' logic, run by the emulator: against the rule written out in double, and bit for bit against
// themselves. A program of its own, because the emulator redefines what nvcc would define.
#include "cuda_emulator.h"

#include "compute/cuda/delta_net/chunk.cuh"
#include "compute/cuda/delta_net/step.cuh"

#include <climits>
#include <cstdio>
#include <random>

namespace lucebox::compute::cuda::delta {

thread_local float4 shared[16384];
thread_local uint4 chunk_shared[4096], carry_shared[8192];

namespace {

int failures = 0;
void check(bool fine, const char* what, double value) {
    std::printf("%s %-60s %.3g\n", fine ? "ok  " : "FAIL", what, value);
    failures += !fine;
}

struct Sequence { // rows of one step
    std::vector<std::int32_t> parent;
    bool commit_now = false;
    std::vector<std::int32_t> pending;
    int committed = 0;
    int slot = 0;
};

std::vector<std::int32_t> path(int rows) {
    std::vector<std::int32_t> parent;
    for (int i = 0; i < rows; ++i) parent.push_back(i - 1);
    return parent;
}
std::vector<std::int32_t> random_tree(int rows, std::mt19937& random) {
    std::vector<std::int32_t> parent;
    for (int i = 0; i < rows; ++i) {
        parent.push_back(i > 0 && random() % 3 != 0 ? i - 1 : static_cast<int>(random() % static_cast<unsigned>(i + 1)) - 1);
    }
    return parent;
}
std::vector<std::int32_t> path_to(const std::vector<std::int32_t>& parent, int row) {
    std::vector<std::int32_t> rows;
    for (; row >= 0; row = parent[static_cast<std::size_t>(row)]) rows.insert(rows.begin(), row);
    return rows;
}

template <int HEADS, bool FIXED> class Layer {
public:
    int key_heads, value_heads, dim, taps, channels;
    std::vector<float> conv_weight, a, dt_bias, norm, state, conv, scratch, saves;

    Layer(int key_heads_, int value_heads_, int dim_, int taps_, int slots, unsigned seed, float decay = 0)
        : key_heads(key_heads_), value_heads(value_heads_), dim(dim_), taps(taps_), channels((2 * key_heads + value_heads) * dim) {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        const auto fill = [&](std::vector<float>& v, int count, auto make) {
            v.resize(static_cast<std::size_t>(count));
            for (float& x : v) x = make(normal(random));
        };
        fill(conv_weight, channels * taps, [](float x) { return 0.5f * x; });
        fill(a, value_heads, [&](float x) { return decay != 0 ? decay : -std::exp(x); });
        fill(dt_bias, value_heads, [](float x) { return x; });
        fill(norm, dim, [](float x) { return 1 + 0.2f * x; });
        state.resize(static_cast<std::size_t>(slots * value_heads * dim * dim));
        conv.resize(static_cast<std::size_t>(slots * (taps - 1) * channels));
        scratch.resize(static_cast<std::size_t>(slots * 64 * ((channels + 2 * value_heads + 3) / 4 * 4)));
        saves.resize(static_cast<std::size_t>(4 * 5 * value_heads * dim * 128));
        chunks.resize(static_cast<std::size_t>(value_heads * chunks_at_once) * ChunkMemory::bytes);
    }

    struct Rows {
        std::vector<float> qkv, z, alpha, beta;
    };
    Rows random_rows(int count, std::mt19937& random) const {
        std::normal_distribution<float> normal;
        Rows rows{std::vector<float>(static_cast<std::size_t>(count * channels)), std::vector<float>(static_cast<std::size_t>(count * value_heads * dim)),
                  std::vector<float>(static_cast<std::size_t>(count * value_heads)), std::vector<float>(static_cast<std::size_t>(count * value_heads))};
        for (auto* v : {&rows.qkv, &rows.z, &rows.alpha, &rows.beta}) {
            for (float& x : *v) x = normal(random);
        }
        return rows;
    }
    Rows pick(const Rows& all, const std::vector<std::int32_t>& chosen) const {
        Rows rows;
        const auto take = [&](const std::vector<float>& from, std::vector<float>& to, int width) {
            for (const int i : chosen) to.insert(to.end(), from.begin() + i * width, from.begin() + (i + 1) * width);
        };
        take(all.qkv, rows.qkv, channels);
        take(all.z, rows.z, value_heads * dim);
        take(all.alpha, rows.alpha, value_heads);
        take(all.beta, rows.beta, value_heads);
        return rows;
    }

    std::vector<float> run(const std::vector<Sequence>& sequences, const Rows& in, int shared_saves, bool descending) {
        std::vector<StepSequence> plan;
        std::vector<StepRow> rows;
        for (const Sequence& from : sequences) {
            StepSequence to;
            to.slot = from.slot;
            to.first_row = static_cast<int>(rows.size());
            to.rows = static_cast<int>(from.parent.size());
            to.committed = from.committed;
            to.commit_now = from.commit_now;
            to.pending_count = static_cast<int>(from.pending.size());
            for (std::size_t i = 0; i < from.pending.size(); ++i) to.pending[i] = static_cast<std::uint8_t>(from.pending[i]);
            for (int i = 0; i < to.rows; ++i) {
                StepRow row;
                row.sequence = static_cast<int>(plan.size());
                row.slot = from.slot;
                row.local = i;
                row.parent = from.parent[static_cast<std::size_t>(i)];
                if (row.parent != i - 1) to.path = 0;
                rows.push_back(row);
            }
            if (!to.path) plan_walk(from.parent, to);
            plan.push_back(to);
        }
        StepState step;
        step.rows = static_cast<int>(rows.size());
        step.sequences = static_cast<int>(plan.size());
        std::vector<float> out(rows.size() * static_cast<std::size_t>(value_heads * dim), NAN);
        Params p{};
        p.step = &step;
        p.sequence = plan.data();
        p.row = rows.data();
        p.qkv = in.qkv.data();
        p.z = in.z.data();
        p.alpha = in.alpha.data();
        p.beta = in.beta.data();
        p.qkv_stride = channels;
        p.z_stride = p.out_stride = value_heads * dim;
        p.gate_stride = value_heads;
        p.conv_weight = conv_weight.data();
        p.a = a.data();
        p.dt_bias = dt_bias.data();
        p.norm = norm.data();
        p.epsilon = 1e-6f;
        p.query_scale = 1 / std::sqrt(static_cast<float>(dim));
        p.key_heads = key_heads;
        p.value_heads = value_heads;
        p.dim = dim;
        p.taps = taps;
        p.channels = channels;
        p.state = state.data();
        p.conv = conv.data();
        p.scratch = scratch.data();
        p.out = out.data();
        p.saves = saves.data();
        p.write_out = true;
        p.longest_walk = dim == 128 ? chunk_rows : INT_MAX;
        const Layout layout(dim, HEADS, shared_saves);
        const dim3 grid(static_cast<unsigned>(layout.parts), static_cast<unsigned>(value_heads / HEADS), static_cast<unsigned>(plan.size()));
        std::memset(shared, 0xff, sizeof(shared)); // what nobody wrote is not a number
        emulator::launch(grid, static_cast<std::size_t>(layout.walkers * 64), descending,
                         [&] { step_kernel<false, FIXED, HEADS>(p, layout); });
        const auto finish = [&](int what) {
            emulator::launch(dim3(4, static_cast<unsigned>(1 + plan.size())), 64, descending, [&] { finish_kernel(p, what); });
        };
        const bool chunked = static_cast<int>(rows.size()) > p.longest_walk;
        finish(finish_walked | (chunked ? fold_pending : 0));
        if (!chunked) return out;
        const int most = static_cast<int>(rows.size() + 126) / 64;
        for (int s = 0; s < static_cast<int>(plan.size()); ++s) {
            for (int first = 0; first < most; first += chunks_at_once) {
                emulator::launch(dim3(static_cast<unsigned>(std::min(chunks_at_once, most - first)), static_cast<unsigned>(value_heads)),
                                 chunk_threads, descending, [&] { chunk_kernel(p, chunks.data(), s, first); });
                emulator::launch(dim3(2, static_cast<unsigned>(value_heads)), carry_warps * 32, descending,
                                 [&] { descending ? carry_kernel<3>(p, chunks.data(), s, first) : carry_kernel<6>(p, chunks.data(), s, first); });
            }
        }
        finish(finish_chunked);
        return out;
    }

    std::vector<std::byte> chunks;
};

// The layer as its formulas read, in double, one token after another.
template <class L> class Reference {
public:
    explicit Reference(const L& layer)
        : l(layer), state(layer.state.begin(), layer.state.begin() + layer.value_heads * layer.dim * layer.dim),
          tail(static_cast<std::size_t>((layer.taps - 1) * layer.channels)) {}

    // One token; its output in out [value_heads * dim].
    void token(const float* qkv, const float* z, const float* alpha, const float* beta, std::vector<double>& out) {
        std::vector<double> c(static_cast<std::size_t>(l.channels));
        for (int x = 0; x < l.channels; ++x) {
            double sum = 0;
            for (int t = 0; t < l.taps; ++t) {
                sum += l.conv_weight[static_cast<std::size_t>(x * l.taps + t)] * (t + 1 < l.taps ? tail[static_cast<std::size_t>(t * l.channels + x)] : qkv[x]);
            }
            c[static_cast<std::size_t>(x)] = sum / (1 + std::exp(-sum));
        }
        tail.erase(tail.begin(), tail.begin() + l.channels);
        tail.insert(tail.end(), qkv, qkv + l.channels);
        const int d = l.dim;
        for (int h = 0; h < l.value_heads; ++h) {
            double* q = c.data() + h % l.key_heads * d;
            std::vector<double> qn(q, q + d), kn(q + l.key_heads * d, q + (l.key_heads + 1) * d);
            for (auto* v : {&qn, &kn}) {
                double s = 1e-6;
                for (const double x : *v) s += x * x;
                for (double& x : *v) x /= std::sqrt(s);
            }
            const double* v = c.data() + (2 * l.key_heads + h) * d;
            const double g = std::exp(l.a[static_cast<std::size_t>(h)] * std::log1p(std::exp(double{alpha[h]} + l.dt_bias[static_cast<std::size_t>(h)])));
            const double b = 1 / (1 + std::exp(-double{beta[h]}));
            double* m = state.data() + h * d * d;
            std::vector<double> o(static_cast<std::size_t>(d));
            double square = 0;
            for (int j = 0; j < d; ++j) {
                double read = 0, answer = 0;
                for (int i = 0; i < d; ++i) read += (m[i * d + j] *= g) * kn[static_cast<std::size_t>(i)];
                for (int i = 0; i < d; ++i) answer += (m[i * d + j] += b * (v[j] - read) * kn[static_cast<std::size_t>(i)]) * qn[static_cast<std::size_t>(i)];
                o[static_cast<std::size_t>(j)] = answer / std::sqrt(d);
                square += o[static_cast<std::size_t>(j)] * o[static_cast<std::size_t>(j)];
            }
            for (int j = 0; j < d; ++j) {
                const double gate = z[h * d + j] / (1 + std::exp(-double{z[h * d + j]}));
                out[static_cast<std::size_t>(h * d + j)] = o[static_cast<std::size_t>(j)] / std::sqrt(square / d + 1e-6) * l.norm[static_cast<std::size_t>(j)] * gate;
            }
        }
    }

    const L& l;
    std::vector<double> state, tail;
};

template <class A, class B> double distance(const A& a, const B& b, std::size_t count) {
    double difference = 0, largest = 1e-30;
    for (std::size_t i = 0; i < count; ++i) {
        const double x = std::abs(double{a[i]} - double{b[i]});
        if (!(x <= difference)) difference = x;
        largest = std::max(largest, std::abs(double{b[i]}));
    }
    return difference / largest;
}

// Tiled, slot 0, as [head][key][value].
template <class L> std::vector<float> plain_state(const L& l) {
    std::vector<float> out(static_cast<std::size_t>(l.value_heads * l.dim * l.dim));
    for (int h = 0; h < l.value_heads; ++h) {
        for (int i = 0; i < l.dim; ++i) {
            for (int j = 0; j < l.dim; ++j) {
                out[static_cast<std::size_t>((h * l.dim + i) * l.dim + j)] =
                    l.state[static_cast<std::size_t>(h * l.dim * l.dim + (j / 4 * (l.dim / 4) + i / 4) * 16 + j % 4 * 4 + i % 4)];
            }
        }
    }
    return out;
}

// A prompt in pieces, against the reference.
template <class L> void prompts(const char* name, L layer, const std::vector<int>& pieces, double out_limit, double state_limit) {
    std::mt19937 random(3);
    Reference<L> reference(layer);
    int committed = 0;
    double worst = 0;
    for (const int piece : pieces) {
        const auto rows = layer.random_rows(piece, random);
        const auto got = layer.run({{path(piece), true, {}, committed}}, rows, 3, committed % 2 == 1);
        std::vector<double> expected(got.size()), one(static_cast<std::size_t>(layer.value_heads * layer.dim));
        for (int t = 0; t < piece; ++t) {
            reference.token(rows.qkv.data() + t * layer.channels, rows.z.data() + t * layer.value_heads * layer.dim,
                            rows.alpha.data() + t * layer.value_heads, rows.beta.data() + t * layer.value_heads, one);
            std::copy(one.begin(), one.end(), expected.begin() + t * layer.value_heads * layer.dim);
        }
        worst = std::max(worst, distance(got, expected, got.size()));
        committed += piece;
    }
    check(worst < out_limit, name, worst);
    const double state = distance(plain_state(layer), reference.state, reference.state.size());
    check(state < state_limit, "    state", state);
    check(distance(layer.conv, reference.tail, reference.tail.size()) == 0, "    convolution tail", 0);
}

// Trees and their accepted paths against plain steps, bit for bit.
template <class L> void trees(const char* name, const L& fresh, int shared_saves) {
    std::mt19937 random(5);
    L guessed = fresh, plain = fresh;
    std::vector<std::int32_t> pending;
    int committed = 0, wrong = 0;
    const int width = fresh.value_heads * fresh.dim;
    for (int round = 0; round < 6; ++round) {
        const int size = round == 0 ? 64 : 1 + static_cast<int>(random() % 64);
        const auto tree = random_tree(size, random);
        const auto rows = guessed.random_rows(size + 3, random);
        // Beside three rows of another sequence.
        const auto got = guessed.run({{path(3), true, {}, 7, 1}, {tree, false, pending, committed, 0}},
                                     [&] {
                                         std::vector<std::int32_t> order;
                                         for (int i = 0; i < size + 3; ++i) order.push_back((i + size) % (size + 3));
                                         return guessed.pick(rows, order);
                                     }(),
                                     shared_saves, round % 2 == 1);
        for (int i = 0; i < size; i += 1 + static_cast<int>(random() % 9)) {
            L branch = plain;
            std::vector<float> last;
            for (const int row : path_to(tree, i)) last = branch.run({{path(1), true, {}, committed}}, branch.pick(rows, {row}), 5, false);
            wrong += !std::equal(last.begin(), last.end(), got.begin() + (3 + i) * width);
        }
        pending = path_to(tree, static_cast<int>(random() % static_cast<unsigned>(size + 1)) - 1);
        for (const int row : pending) plain.run({{path(1), true, {}, committed++}}, plain.pick(rows, {row}), 5, false);
    }
    const auto one = guessed.random_rows(1, random);
    const auto a = guessed.run({{path(1), true, pending, committed}}, one, shared_saves, false);
    const auto b = plain.run({{path(1), true, {}, committed}}, one, 5, true);
    check(wrong == 0, name, wrong);
    check(a == b, "    a row behind the accepted path", 0);
    check(std::equal(guessed.conv.begin(), guessed.conv.begin() + (fresh.taps - 1) * fresh.channels, plain.conv.begin()), "    tail", 0);
    check(plain_state(guessed) == plain_state(plain), "    state", 0);
}

} // namespace
} // namespace lucebox::compute::cuda::delta

int main() {
    using namespace lucebox::compute::cuda::delta;
    prompts("plain rows, 16 wide", Layer<1, false>(2, 4, 16, 4, 2, 1), {1, 1, 5, 40, 3}, 2e-5, 5e-6);
    prompts("plain rows, 48 wide, 3 taps", Layer<1, false>(1, 2, 48, 3, 2, 1), {3, 20, 1, 1}, 2e-5, 5e-6);
    prompts("plain rows, 3 heads a block", Layer<3, true>(1, 3, 128, 4, 2, 1), {1, 1, 13, 64, 2}, 2e-5, 5e-6);
    prompts("prompt, one chunk and a bit", Layer<1, true>(1, 2, 128, 4, 2, 1), {65}, 1.5e-3, 5e-6);
    prompts("prompts in pieces", Layer<2, true>(1, 2, 128, 4, 2, 1), {130, 3, 200, 1, 66}, 1.5e-3, 5e-6);
    prompts("more than eight chunks", Layer<1, true>(1, 1, 128, 4, 2, 1), {600}, 1.5e-3, 5e-6);
    prompts("strong decay", Layer<1, true>(1, 2, 128, 4, 2, 1, -40), {150}, 1.5e-3, 5e-6);
    trees("trees, 16 wide", Layer<1, false>(2, 4, 16, 4, 2, 1), 5);
    trees("trees, 3 heads a block, 2 states saved far away", Layer<3, true>(1, 3, 128, 4, 2, 1), 3);
    trees("trees, all states saved far away", Layer<1, true>(1, 1, 128, 4, 2, 1), 0);
    return failures > 0;
}
