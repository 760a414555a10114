#include "compute/cuda/program.h"

#include <algorithm>
#include <bit>
#include <span>
#include <type_traits>

namespace lucebox::compute::cuda {
namespace {

// FNV-1a over 64-bit words.
class Hash {
public:
    template <class T> Hash& operator<<(T value) {
        std::uint64_t word = 0;
        if constexpr (std::is_pointer_v<T>) word = reinterpret_cast<std::uintptr_t>(value);
        else if constexpr (std::is_same_v<T, float>) word = std::bit_cast<std::uint32_t>(value);
        else word = static_cast<std::uint64_t>(value);
        state_ = (state_ ^ word) * 0x100000001b3ull;
        state_ ^= state_ >> 29;
        return *this;
    }
    Hash& operator<<(const Tensor& tensor) { return *this << tensor.data << tensor.rows << tensor.width; }
    Hash& operator<<(const KvView& kv) {
        return *this << kv.k << kv.v << kv.type << kv.slots << kv.capacity << kv.kv_heads << kv.head_dim;
    }
    Hash& operator<<(const RecurrentView& view) { return *this << view.state << view.conv << view.scratch; }
    std::uint64_t value() const { return state_; }

private:
    std::uint64_t state_ = 0xcbf29ce484222325ull;
};

struct Fingerprint {
    Hash& hash;

    void operator()(const EmbedOperation& o) { hash << o.table << o.scale << o.out; }
    void operator()(const NormOperation& o) { hash << o.x << o.weight << o.epsilon << o.out << o.add; }
    void operator()(const ProjectOperation& o) {
        hash << o.x << o.count << o.heads;
        for (std::size_t i = 0; i < o.count; ++i) {
            hash << o.targets[i].matrix << o.targets[i].bias << o.targets[i].out << o.targets[i].accumulate;
        }
    }
    void operator()(const GatedOperation& o) { hash << o.x << o.gate << o.up << o.activation << o.out; }
    void operator()(const AttentionOperation& o) { attention(o.args); }
    void operator()(const StoreOperation& o) { attention(o.args); }
    void attention(const AttentionArgs& a) {
        hash << a.q << a.k << a.v << a.heads << a.q_norm << a.k_norm << a.epsilon << a.rope << a.scale << a.window << a.gated << a.bidirectional
             << a.cache << a.out;
    }
    void operator()(const DeltaNetOperation& o) {
        const DeltaNetArgs& a = o.args;
        hash << a.qkv << a.z << a.alpha << a.beta << a.conv << a.a << a.dt_bias << a.norm << a.epsilon << a.key_heads
             << a.value_heads << a.dim << a.conv_width << a.cache << a.out;
    }
    void operator()(const GatherOperation& o) { hash << o.x << o.out; }
    void operator()(const ColumnsOperation& o) { hash << o.x << o.out << o.first_column; }
    void operator()(const TopOperation& o) { hash << o.logits << o.count << o.ids << o.logprobs; }
    void operator()(const BestOperation& o) { hash << o.logits << o.ids; }
    void operator()(const SummaryOperation& o) {
        hash << o.call.logits << o.call.queries << o.call.count << o.call.masks << o.call.summaries << o.call.more;
    }
};

struct Reads {
    const float* data;

    bool operator()(const EmbedOperation&) const { return false; }
    bool operator()(const NormOperation& o) const { return o.x.data == data || (o.add && o.out.data == data); }
    bool operator()(const ProjectOperation& o) const {
        for (std::size_t i = 0; i < o.count; ++i) {
            if (o.targets[i].accumulate && o.targets[i].out == data) return true;
        }
        return false;
    }
    bool operator()(const GatedOperation&) const { return false; }
    bool operator()(const AttentionOperation& o) const {
        return o.args.q.data == data || o.args.k.data == data || o.args.v.data == data;
    }
    bool operator()(const DeltaNetOperation& o) const {
        return o.args.qkv.data == data || o.args.z.data == data || o.args.alpha.data == data || o.args.beta.data == data;
    }
    bool operator()(const StoreOperation& o) const { return o.args.k.data == data || o.args.v.data == data; }
    bool operator()(const GatherOperation& o) const { return o.x.data == data; }
    bool operator()(const ColumnsOperation& o) const { return o.x.data == data; }
    bool operator()(const TopOperation& o) const { return o.logits.data == data; }
    bool operator()(const BestOperation& o) const { return o.logits.data == data; }
    bool operator()(const SummaryOperation& o) const { return o.call.logits.data == data; }
};

struct Writes {
    const float* data;

    bool operator()(const EmbedOperation& o) const { return o.out.data == data; }
    bool operator()(const NormOperation& o) const { return o.out.data == data; }
    bool operator()(const ProjectOperation& o) const {
        for (std::size_t i = 0; i < o.count; ++i) {
            if (o.targets[i].out == data) return true;
        }
        return false;
    }
    bool operator()(const GatedOperation& o) const { return o.out.data == data; }
    bool operator()(const AttentionOperation& o) const { return o.args.out.data == data; }
    bool operator()(const DeltaNetOperation& o) const { return o.args.out.data == data; }
    bool operator()(const StoreOperation&) const { return false; }
    bool operator()(const GatherOperation& o) const { return o.out.data == data; }
    bool operator()(const ColumnsOperation&) const { return false; } // a part only
    bool operator()(const TopOperation&) const { return false; }
    bool operator()(const BestOperation&) const { return false; }
    bool operator()(const SummaryOperation&) const { return false; }
};

} // namespace

void put_before_heads(ProjectOperation& inputs, const DeltaNetArgs& layer) {
    const std::array order{layer.alpha.data, layer.beta.data, layer.qkv.data, layer.z.data};
    const auto place = [&](const MatmulTarget& target) { return std::ranges::find(order, target.out) - order.begin(); };
    const std::span targets = std::span(inputs.targets).first(inputs.count);
    if (std::ranges::count_if(targets, [&](const MatmulTarget& target) { return target.out == layer.z.data; }) != 1) return;
    std::ranges::stable_sort(targets, {}, place);
    if (targets.back().out == layer.z.data) inputs.heads = layer.value_heads;
}

std::uint64_t fingerprint(const Program& program) {
    Hash hash;
    for (const Operation& operation : program) {
        hash << operation.index();
        std::visit(Fingerprint{hash}, operation);
    }
    return hash.value();
}

bool read_later(const Program& program, std::size_t index, const float* data) {
    for (std::size_t i = index + 1; i < program.size(); ++i) {
        if (std::visit(Reads{data}, program[i])) return true;
        if (std::visit(Writes{data}, program[i])) return false;
    }
    return true;
}

bool multiplied_behind(const Program& program, std::size_t index, std::size_t end, const float* data) {
    for (std::size_t i = index + 1; i < program.size(); ++i) {
        const auto* project = std::get_if<ProjectOperation>(&program[i]);
        const auto* gated = std::get_if<GatedOperation>(&program[i]);
        if (i >= end && ((project && project->x.data == data) || (gated && gated->x.data == data))) return true;
        if (std::visit(Writes{data}, program[i])) return false;
    }
    return false;
}

} // namespace lucebox::compute::cuda
