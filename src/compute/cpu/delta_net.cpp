#include "compute/cpu/delta_net.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace lucebox::compute::cpu {
namespace {

constexpr float l2_epsilon = 1e-6f;        // as the model was trained: x / sqrt(sum x^2 + epsilon)
constexpr std::size_t channels_per_task = 256;
constexpr std::size_t max_conv_width = 8;

std::size_t channels(const DeltaNetArgs& args) { return (2 * args.key_heads + args.value_heads) * args.dim; }

// What a row leaves for a later replay: its raw channels, alpha and beta, as the projections made them.
struct ScratchRow {
    float *raw, *alpha, *beta;

    ScratchRow(const DeltaNetArgs& args, std::int32_t slot, std::int32_t local) {
        const std::size_t width = RecurrentView::scratch_width(channels(args), args.value_heads);
        raw = args.cache.scratch + (static_cast<std::size_t>(slot) * max_tree_rows + static_cast<std::size_t>(local)) * width;
        alpha = raw + channels(args);
        beta = alpha + args.value_heads;
    }
};

struct Gates {
    float decay, write;

    Gates(const DeltaNetArgs& args, std::size_t head, float alpha, float beta) {
        const float x = alpha + args.dt_bias->data()[head];
        const float softplus = x > 20 ? x : std::log1p(std::exp(x));
        decay = std::exp(args.a->data()[head] * softplus);
        write = 1 / (1 + std::exp(-beta));
    }
};

float* conv_state(const DeltaNetArgs& args, std::int32_t slot) {
    return args.cache.conv + static_cast<std::size_t>(slot) * (args.conv_width - 1) * channels(args);
}

float* head_state(const DeltaNetArgs& args, std::int32_t slot, std::size_t head) {
    return args.cache.state + (static_cast<std::size_t>(slot) * args.value_heads + head) * args.dim * args.dim;
}

// One head's view of a row's finished channels. Value head h reads key head h mod key_heads.
struct HeadInputs {
    const float *q, *k, *v;

    HeadInputs(const DeltaNetArgs& args, const float* qkv, std::size_t head)
        : q(qkv + head % args.key_heads * args.dim), k(q + args.key_heads * args.dim),
          v(qkv + (2 * args.key_heads + head) * args.dim) {}
};

} // namespace

void DeltaNet::begin_step(const StepPlan& plan) {
    plan_ = &plan;
    scratch_.resize(pool_.size());
}

// Folds the rows accepted from an earlier step into state and convolution tail: each is computed again from its raw
// inputs, as it was computed then.
void DeltaNet::replay(const DeltaNetArgs& args, const PlanSequence& sequence) {
    const std::size_t width = channels(args), taps = args.conv_width, tail = taps - 1;
    float* conv = conv_state(args, sequence.slot);
    replayed_.resize(width);
    for (const std::int32_t local : sequence.pending) {
        const ScratchRow row(args, sequence.slot, local);
        pool_.run(width, channels_per_task, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t channel = begin; channel < end; ++channel) {
                const float* weight = args.conv->data() + channel * taps;
                float sum = 0;
                for (std::size_t tap = 0; tap < tail; ++tap) sum += weight[tap] * conv[tap * width + channel];
                replayed_[channel] = sum + weight[tail] * row.raw[channel];
            }
            kernels_.silu(end - begin, replayed_.data() + begin);
        });
        for (std::size_t head = args.key_heads; head < 2 * args.key_heads; ++head) { // q has had its use
            kernels_.l2_normalise(1, l2_epsilon, args.dim, replayed_.data() + head * args.dim);
        }
        pool_.run(args.value_heads, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t head = begin; head < end; ++head) {
                const HeadInputs inputs(args, replayed_.data(), head);
                const Gates gates(args, head, row.alpha[head], row.beta[head]);
                kernels_.delta_rule(head_state(args, sequence.slot, head), inputs.q, inputs.k, inputs.v, gates.write, gates.decay,
                                    args.dim, nullptr);
            }
        });
        std::memmove(conv, conv + width, (tail - 1) * width * sizeof(float));
        std::memcpy(conv + (tail - 1) * width, row.raw, width * sizeof(float));
    }
}

// Replaces raw channels by silu(convolution along the row's path), rows last to first, so that a row's ancestors are
// still raw when it needs them.
void DeltaNet::convolve(const DeltaNetArgs& args, const PlanSequence& sequence) {
    const std::size_t width = channels(args), taps = args.conv_width, tail = taps - 1;
    float* conv = conv_state(args, sequence.slot);
    pool_.run(width, channels_per_task, [&](std::size_t begin, std::size_t end, std::size_t) {
        const auto raw = [&](std::int32_t local) {
            return args.qkv.data + static_cast<std::size_t>(sequence.first_row + local) * args.qkv.width;
        };
        const std::size_t count = end - begin;
        // The raw vectors that `local` and the `tail` tokens before it hold, newest first.
        const auto window = [&](std::int32_t local, std::array<const float*, max_conv_width>& at) {
            std::size_t i = 0;
            for (; i < taps && local >= 0; ++i) {
                at[i] = raw(local);
                local = plan_->rows[static_cast<std::size_t>(sequence.first_row + local)].parent;
            }
            for (std::size_t back = 0; i < taps; ++i, ++back) at[i] = conv + (tail - 1 - back) * width;
        };
        std::array<const float*, max_conv_width> at{};
        float new_tail[max_conv_width - 1][channels_per_task];
        if (sequence.commit_now) {
            window(sequence.rows - 1, at);
            for (std::size_t i = 0; i < tail; ++i) std::memcpy(new_tail[tail - 1 - i], at[i] + begin, count * sizeof(float));
        } else {
            for (std::int32_t local = 0; local < sequence.rows; ++local) {
                std::memcpy(ScratchRow(args, sequence.slot, local).raw + begin, raw(local) + begin, count * sizeof(float));
            }
        }
        for (std::int32_t local = sequence.rows - 1; local >= 0; --local) {
            window(local, at);
            float* out = raw(local);
            for (std::size_t channel = begin; channel < end; ++channel) {
                const float* weight = args.conv->data() + channel * taps;
                float sum = 0;
                for (std::size_t tap = 0; tap < taps; ++tap) sum += weight[tap] * at[taps - 1 - tap][channel];
                out[channel] = sum;
            }
            kernels_.silu(count, out + begin);
        }
        if (sequence.commit_now) {
            for (std::size_t i = 0; i < tail; ++i) std::memcpy(conv + i * width + begin, new_tail[i], count * sizeof(float));
        }
    });
}

// Normalises q and k, turns alpha into decay and beta into a write strength; keeps alpha and beta for a later replay.
void DeltaNet::finish_inputs(const DeltaNetArgs& args, const PlanSequence& sequence) {
    const float query_scale = 1 / std::sqrt(static_cast<float>(args.dim));
    pool_.run(static_cast<std::size_t>(sequence.rows), 2, [&](std::size_t begin, std::size_t end, std::size_t) {
        for (std::size_t local = begin; local < end; ++local) {
            const std::size_t row = static_cast<std::size_t>(sequence.first_row) + local;
            float* qkv = args.qkv.data + row * args.qkv.width;
            float* decay = args.alpha.data + row * args.alpha.width;
            float* beta = args.beta.data + row * args.beta.width;
            for (std::size_t head = 0; head < 2 * args.key_heads; ++head) {
                kernels_.l2_normalise(head < args.key_heads ? query_scale : 1, l2_epsilon, args.dim, qkv + head * args.dim);
            }
            if (!sequence.commit_now) {
                const ScratchRow scratch(args, sequence.slot, static_cast<std::int32_t>(local));
                std::memcpy(scratch.alpha, decay, args.value_heads * sizeof(float));
                std::memcpy(scratch.beta, beta, args.value_heads * sizeof(float));
            }
            for (std::size_t head = 0; head < args.value_heads; ++head) {
                const Gates gates(args, head, decay[head], beta[head]);
                decay[head] = gates.decay;
                beta[head] = gates.write;
            }
        }
    });
}

// Whichever thread takes which head: all have room for the path's states once one does.
void DeltaNet::reserve_states(const DeltaNetArgs& args, const PlanSequence& sequence) {
    std::size_t depth = 1;
    if (!sequence.path) {
        for (std::int32_t local = 0; local < sequence.rows; ++local) {
            const PlanRow& row = plan_->rows[static_cast<std::size_t>(sequence.first_row + local)];
            depth = std::max(depth, static_cast<std::size_t>(row.position - sequence.committed) + 1);
        }
    }
    for (Scratch& scratch : scratch_) {
        if (scratch.states.size() < depth) scratch.states.resize(depth);
        for (std::vector<float>& state : scratch.states) state.reserve(args.dim * args.dim);
    }
}

// A path: on the state itself if the rows stay, else on a copy.
void DeltaNet::recur(const DeltaNetArgs& args, const PlanSequence& sequence, std::size_t head, Scratch& scratch) {
    float* state = head_state(args, sequence.slot, head);
    if (!sequence.commit_now) {
        scratch.states[0].assign(state, state + args.dim * args.dim);
        state = scratch.states[0].data();
    }
    for (std::int32_t local = 0; local < sequence.rows; ++local) {
        const std::size_t row = static_cast<std::size_t>(sequence.first_row + local);
        const HeadInputs inputs(args, args.qkv.data + row * args.qkv.width, head);
        kernels_.delta_rule(state, inputs.q, inputs.k, inputs.v, args.beta.data[row * args.beta.width + head],
                            args.alpha.data[row * args.alpha.width + head], args.dim,
                            args.out.data + row * args.out.width + head * args.dim);
    }
}

// A tree, depth first: states[d] is the state behind the current path's first d rows.
void DeltaNet::recur_tree(const DeltaNetArgs& args, const PlanSequence& sequence, std::size_t head, Scratch& scratch) {
    const PlanRow* rows = plan_->rows.data() + sequence.first_row;
    const auto depth = [&](std::int32_t local) { return static_cast<std::size_t>(rows[local].position - sequence.committed); };
    std::array<std::int32_t, max_tree_rows> stack{};
    std::size_t top = 0;
    const auto push_children = [&](std::int32_t parent) {
        for (std::int32_t local = sequence.rows - 1; local > parent; --local) {
            if (rows[local].parent == parent) stack[top++] = local;
        }
    };
    const float* base = head_state(args, sequence.slot, head);
    push_children(-1);
    while (top > 0) {
        const std::int32_t local = stack[--top];
        const std::size_t d = depth(local), row = static_cast<std::size_t>(sequence.first_row + local);
        const float* from = d == 0 ? base : scratch.states[d - 1].data();
        scratch.states[d].assign(from, from + args.dim * args.dim);
        const HeadInputs inputs(args, args.qkv.data + row * args.qkv.width, head);
        kernels_.delta_rule(scratch.states[d].data(), inputs.q, inputs.k, inputs.v,
                            args.beta.data[row * args.beta.width + head], args.alpha.data[row * args.alpha.width + head],
                            args.dim, args.out.data + row * args.out.width + head * args.dim);
        push_children(local);
    }
}

void DeltaNet::run(const DeltaNetArgs& args) {
    for (const PlanSequence& sequence : plan_->sequences) {
        reserve_states(args, sequence);
        if (!sequence.pending.empty()) replay(args, sequence);
        convolve(args, sequence);
        finish_inputs(args, sequence);
        pool_.run(args.value_heads, 1, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            for (std::size_t head = begin; head < end; ++head) {
                if (sequence.path) recur(args, sequence, head, scratch_[thread]);
                else recur_tree(args, sequence, head, scratch_[thread]);
            }
        });
    }
    pool_.run(plan_->size(), 2, [&](std::size_t begin, std::size_t end, std::size_t) { // norm, then gate
        for (std::size_t row = begin; row < end; ++row) {
            float* out = args.out.data + row * args.out.width;
            float* z = args.z.data + row * args.z.width;
            for (std::size_t head = 0; head < args.value_heads; ++head) {
                float* y = out + head * args.dim;
                kernels_.rms_norm(y, args.norm->data(), args.epsilon, args.dim, y);
            }
            kernels_.gate(Activation::silu, out, args.value_heads * args.dim, z); // silu(z) * y, in place of z
            std::memcpy(out, z, args.value_heads * args.dim * sizeof(float));
        }
    });
}

} // namespace lucebox::compute::cpu
