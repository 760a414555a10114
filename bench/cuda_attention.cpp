// What a layer's attention costs on the GPU, in the shape of Qwen3.6-27B: many layers in a row, each with a cache of its own, as
// a model runs them, from one CUDA graph. What a layer takes is the difference between a step of many layers and one of few, so
// that what a step costs besides is left out. Prints microseconds a layer, the rate at which keys and values were read, and what
// share that is of a kernel that only reads.
//
//   bench_cuda_attention [f16|q8_0] [rows] [context]    each: only that
#include "../tests/compute/cuda_support.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

using namespace lucebox::compute;
using namespace lucebox::compute::testing;

constexpr std::size_t heads = 24, kv_heads = 4, head_dim = 256, most_rows = 64, contexts[] = {512, 8192, 32768, 131072};
constexpr std::size_t few_layers = 4, many_layers = 20;

struct Case {
    const char* name;
    std::vector<std::int32_t> parents;
};

// A path with a side branch of three rows at every fourth row.
std::vector<std::int32_t> tree(std::int32_t rows) {
    std::vector<std::int32_t> parents;
    for (std::int32_t row = 0, end = -1; row < rows; ++row) {
        const std::int32_t branch = row % 8;
        parents.push_back(branch == 5 ? end : row - 1);
        if (branch < 5) end = row;
        if (branch == 7) end = row - 3;
    }
    return parents;
}

// Keys and values of one layer; any bits do that are small numbers, as f16 or as scales.
class Cache {
public:
    Cache(Device& device, DType type, std::size_t capacity, std::span<const std::byte> pattern) {
        view_.type = type;
        view_.slots = 1;
        view_.capacity = capacity;
        view_.kv_heads = kv_heads;
        view_.head_dim = head_dim;
        const KvBytes bytes = device.kv_bytes(view_);
        for (std::size_t i = 0; i < 2; ++i) {
            auto buffer = device.allocate(i == 0 ? bytes.k : bytes.v);
            if (!buffer) throw std::runtime_error(buffer.error().message);
            planes_[i] = std::move(*buffer);
            for (std::size_t at = 0; at < planes_[i]->bytes(); at += pattern.size()) {
                device.upload(planes_[i]->data() + at, pattern.first(std::min(pattern.size(), planes_[i]->bytes() - at)));
            }
        }
        view_.k = planes_[0]->data();
        view_.v = planes_[1]->data();
    }
    const KvView& view() const { return view_; }

private:
    KvView view_;
    std::unique_ptr<Buffer> planes_[2];
};

// Microseconds of a step, queued many times before one wait; the median of five such turns.
double microseconds(Device& device, const StepPlan& plan, std::span<const AttentionArgs> layers) {
    const auto wait = [&] {
        float value = 0;
        device.download(std::as_writable_bytes(std::span(&value, 1)), reinterpret_cast<const std::byte*>(layers[0].out.data));
        if (!device.failure()) throw std::runtime_error(device.failure().error().message);
    };
    const auto steps = [&](int count) {
        for (int i = 0; i < count; ++i) {
            device.begin_step(plan);
            for (const AttentionArgs& layer : layers) device.attention(layer);
            device.end_step();
        }
        wait();
    };
    steps(2);
    std::vector<double> turns;
    constexpr int together = 8;
    for (int turn = 0; turn < 5; ++turn) {
        const auto begin = std::chrono::steady_clock::now();
        steps(together);
        turns.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / together);
    }
    std::ranges::sort(turns);
    return turns[2];
}

void measure(Device& device, DType type, double read_rate, std::size_t only_rows, std::size_t only_context) {
    std::mt19937 random{7};
    std::vector<std::uint16_t> pattern(std::size_t{8} << 20);
    for (std::uint16_t& bits : pattern) bits = static_cast<std::uint16_t>(0x2800 | (random() & 0x83ff)); // up to 0.06, of either sign
    const std::size_t capacity = (only_context ? only_context : contexts[std::size(contexts) - 1]) + most_rows;
    std::vector<Cache> caches;
    for (std::size_t i = 0; i < many_layers; ++i) caches.emplace_back(device, type, capacity, std::as_bytes(std::span(pattern)));

    Rope rope;
    rope.dimensions = 64;
    for (std::size_t i = 0; i < 32; ++i) rope.frequency.push_back(std::pow(1e7, -2.0 * static_cast<double>(i) / 64));
    const Vector q_norm = vector_of(device, random_values(head_dim, random)), k_norm = vector_of(device, random_values(head_dim, random));
    Held q(device, most_rows, heads * head_dim * 2), k(device, most_rows, kv_heads * head_dim), v(device, most_rows, kv_heads * head_dim);
    Held out(device, most_rows, heads * head_dim);
    q.set(random_values(most_rows * heads * head_dim * 2, random));
    k.set(random_values(most_rows * kv_heads * head_dim, random));
    v.set(random_values(most_rows * kv_heads * head_dim, random));

    const Case cases[] = {{"1 row", chain(1)}, {"chain of 16", chain(16)}, {"tree of 16", tree(16)}, {"tree of 64", tree(64)}};
    for (const Case& c : cases) {
        if (only_rows && c.parents.size() != only_rows) continue;
        for (const std::size_t context : contexts) {
            if (only_context && context != only_context) continue;
            const StepPlan plan = plan_of(static_cast<std::int32_t>(context), c.parents);
            const std::size_t rows = device.padded_rows(plan.size());
            std::vector<AttentionArgs> layers(many_layers);
            for (std::size_t i = 0; i < many_layers; ++i) {
                AttentionArgs& args = layers[i];
                args.q = {q.tensor().data, rows, q.tensor().width};
                args.k = {k.tensor().data, rows, k.tensor().width};
                args.v = {v.tensor().data, rows, v.tensor().width};
                args.out = {out.tensor().data, rows, out.tensor().width};
                args.heads = heads;
                args.q_norm = &q_norm;
                args.k_norm = &k_norm;
                args.epsilon = 1e-6f;
                args.rope = &rope;
                args.scale = 1 / std::sqrt(static_cast<float>(head_dim));
                args.gated = true;
                args.cache = caches[i].view();
            }
            const double few = microseconds(device, plan, std::span(layers).first(few_layers)), many = microseconds(device, plan, layers);
            const double layer = (many - few) / (many_layers - few_layers);
            const double bytes = static_cast<double>(2 * (context + plan.size()) * kv_heads * kv_head_bytes(type, head_dim));
            const double rate = bytes / (layer * 1e-6);
            std::printf("%-5s %-12s behind %6zu  %8.2f us a layer  %7.1f GB/s  %5.1f %% of a pure read\n", std::string(dtype_name(type)).c_str(), c.name,
                        context, layer, rate * 1e-9, 100 * rate / read_rate);
        }
    }
}

} // namespace

int main(int count, char** arguments) {
    if (!gpu_is_here()) return std::puts("skipped: no GPU"), 0;
    const std::string only_type = count > 1 ? arguments[1] : "";
    const auto number = [&](int i) { return count > i ? std::strtoul(arguments[i], nullptr, 10) : 0; };
    const auto device = must_make({DeviceChoice::cuda, 0, false, 0});
    const double read_rate = device->measure_read_rate(std::size_t{4} << 30);
    std::printf("%s; a pure read: %.2f TB/s\n", std::string(device->name()).c_str(), read_rate * 1e-12);
    if (const auto ready = device->prepare(most_rows, contexts[std::size(contexts) - 1] + most_rows); !ready) {
        return std::fprintf(stderr, "%s\n", ready.error().message.c_str()), 1;
    }
    for (const DType type : {DType::f16, DType::q8_0}) {
        if (only_type.empty() || only_type == dtype_name(type)) measure(*device, type, read_rate, number(2), number(3));
    }
    return 0;
}
