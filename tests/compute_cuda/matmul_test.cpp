// What of the GPU's matrix products can be proved without a GPU: device functions run here as plain functions, one
// thread after another (host/cuda_fp16.h). That tensor cores and copies do as they are told, bench_cuda_matmul checks
// on a card.
#include <cuda_fp16.h>

#include "compute/cuda/matmul/expand.cuh"
#include "compute/cuda/matmul/operand.cuh"
#include "compute/cuda/matmul/plan.h"
#include "compute/cuda/matmul/repack.cuh"
#include "compute/cuda/matmul/walk.cuh"
#include "gguf/blocks.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace lucebox::compute::cuda {
namespace {

using gguf::TensorType;

// Blocks of random bits with scales of a sensible size; `size` multiplies all weights.
std::vector<std::byte> random_blocks(TensorType type, std::size_t blocks, float size, std::mt19937_64& rng) {
    using enum TensorType;
    static const std::map<TensorType, std::vector<std::pair<std::size_t, float>>> scales{
        {q4_0, {{0, 4e-3f}}},
        {q4_1, {{0, 4e-3f}, {2, -3e-2f}}},
        {q5_0, {{0, 2e-3f}}},
        {q5_1, {{0, 2e-3f}, {2, -3e-2f}}},
        {q8_0, {{0, 3e-4f}}},
        {iq4_nl, {{0, 3e-4f}}},
        {q2_k, {{80, 1e-3f}, {82, 2e-3f}}},
        {q3_k, {{108, 4e-4f}}},
        {q4_k, {{0, 1e-4f}, {2, 7e-4f}}},
        {q5_k, {{0, 1e-4f}, {2, 7e-4f}}},
        {q6_k, {{208, 2e-5f}}},
        {iq4_xs, {{0, 1e-5f}}}};
    const gguf::BlockFormat& format = gguf::block_format(type);
    std::vector<std::byte> out(blocks * format.bytes);
    if (format.elements == 1) {
        std::normal_distribution<float> normal(0, 0.05f * size);
        for (std::size_t i = 0; i < blocks; ++i) {
            const float value = normal(rng);
            const std::uint16_t half = type == bf16 ? gguf::f32_to_bf16(value) : gguf::f32_to_f16(value);
            std::memcpy(&out[i * format.bytes], type == f32 ? static_cast<const void*>(&value) : &half, format.bytes);
        }
        return out;
    }
    for (std::byte& byte : out)
        byte = static_cast<std::byte>(rng() >> 9);
    std::uniform_real_distribution<float> near(0.5f, 1.5f);
    for (std::size_t i = 0; i < blocks; ++i)
        for (const auto& [offset, scale] : scales.at(type)) {
            const std::uint16_t half = gguf::f32_to_f16(scale * size * near(rng));
            std::memcpy(&out[i * format.bytes + offset], &half, 2);
        }
    return out;
}

// A packed matrix beside the file's weights.
template <Form form>
struct Packed {
    int outputs, inputs, units, tiles;
    std::vector<float> weights; // [outputs, inputs]
    std::vector<uint4> memory;

    Packed(TensorType type, int m, int k, float size)
        : outputs(m), inputs(k), weights(static_cast<std::size_t>(m * k)) {
        std::mt19937_64 rng(7);
        const gguf::BlockFormat& format = gguf::block_format(type);
        const auto row_blocks = static_cast<std::size_t>(k) / format.elements;
        const std::vector<std::byte> raw = random_blocks(type, row_blocks * static_cast<std::size_t>(m), size, rng);
        gguf::dequantise_row(type, raw, weights);
        units = (k + unit_inputs(form) - 1) / unit_inputs(form);
        tiles = (m + 63) / 64;
        memory.resize((matrix_header_bytes + static_cast<std::size_t>(units * tiles * unit_bytes(form))) / 16);
        const packing::Shape shape{k, m, units, tiles, row_blocks * format.bytes};
        const auto floats = type == TensorType::f32    ? packing::Floats::f32
                            : type == TensorType::bf16 ? packing::Floats::bf16
                                                       : packing::Floats::f16;
        const auto* bytes = reinterpret_cast<Bytes>(raw.data());
        threadIdx.x = blockIdx.x = 0;
        const bool keep = type == TensorType::f16;
        if (!keep) packing::find_bound<form>(bytes, shape, floats, header());
        packing::choose_scale(header(), packing::scale_target(form), packing::scale_largest(form), keep);
        for (blockIdx.x = 0; blockIdx.x < static_cast<unsigned>(units * tiles); ++blockIdx.x)
            for (threadIdx.x = 0; threadIdx.x < 128; ++threadIdx.x)
                packing::pack<form>(bytes, shape, floats, data());
    }
    std::byte* data() { return reinterpret_cast<std::byte*>(memory.data()); }
    MatrixHeader* header() { return reinterpret_cast<MatrixHeader*>(data()); }
    float weight(int output, int input) const {
        return output < outputs && input < inputs ? weights[static_cast<std::size_t>(output * inputs + input)] : 0.0f;
    }
};

// Which input a lane's registers hold, by the operand's layout: the one whose activation lies where the lane's B lies.
int input_at(int lane, int block, int step, int j, int e) {
    static const std::map<std::size_t, int> inputs = [] {
        std::map<std::size_t, int> all;
        const Operand one{nullptr, 1};
        for (std::uint32_t k = 0; k < 256; ++k)
            all[one.offset(0, k)] = static_cast<int>(k);
        return all;
    }();
    const int piece = 2 * step + j / 2; // inputs 0..7 of the step, or 8..15
    return inputs.at(static_cast<std::size_t>(block * 128 + piece * 16 + lane % 4 * 4 + e * 2));
}

template <Form form>
void expect_weights_in_place(TensorType type, int outputs, int inputs, double tolerance) {
    for (const float size : {1.0f, 0.01f, 30.0f}) {
        Packed<form> matrix(type, outputs, inputs, size);
        const __half2 power = power_of(*matrix.header());
        double off = 0, all = 0;
        for (int at = 0; at < matrix.tiles * matrix.units * 4; ++at)
            for (int lane = 0; lane < 32; ++lane) {
                const int unit = at / 4 % matrix.units, tile = at / 4 / matrix.units;
                const TilePlace place = place_of_tile(form, tile, matrix.tiles, matrix.units);
                const GlobalPart part{matrix.data() + matrix_header_bytes + place.at(unit) +
                                      static_cast<std::size_t>(at % 4 * part_bytes(form))};
                Scales<form> scales;
                scales.load(part, lane, power);
                for (int block = 0; block < unit_inputs(form) / 64; ++block) {
                    double sum[16][2] = {};
                    for (int plane = 0; plane < planes_of<form>(); ++plane) {
                        std::uint32_t a[16];
                        expand_block<form>(part, scales, block, plane, lane, a);
                        for (int i = 0; i < 16; ++i)
                            for (int e = 0; e < 2; ++e)
                                sum[i][e] += value_of(__half{static_cast<std::uint16_t>(a[i] >> (16 * e))});
                    }
                    for (int i = 0; i < 16; ++i)
                        for (int e = 0; e < 2; ++e) {
                            const int input = unit * unit_inputs(form) + input_at(lane, block, i / 4, i % 4, e);
                            const int output = tile * 64 + at % 4 * 16 + lane / 4 + 8 * (i % 2);
                            const double expected = matrix.weight(output, input);
                            const double difference = sum[i][e] * matrix.header()->inverse - expected;
                            off += difference * difference, all += expected * expected;
                        }
                }
            }
        EXPECT_LE(std::sqrt(off / all), tolerance) << gguf::block_format(type).name << " times " << size;

        int different = 0; // what embed() returns
        for (int o = 0; o < outputs; ++o)
            for (int k = 0; k < inputs; ++k) {
                const float got = packing::weight_at<form>(matrix.data(), matrix.units, matrix.tiles, o, k),
                            expected = matrix.weight(o, k);
                different += type == TensorType::f32 ? std::fabs(got - expected) > 1e-6f * size : got != expected;
            }
        EXPECT_EQ(different, 0) << gguf::block_format(type).name << " times " << size;
    }
}

TEST(CudaMatmul, LanesHoldTheFilesWeightsInTheOrderOfTheirActivations) {
    using enum TensorType;
    expect_weights_in_place<Form::q4_0>(q4_0, 70, 192, 2.5e-4);
    expect_weights_in_place<Form::q4_1>(q4_1, 70, 192, 2.5e-4);
    expect_weights_in_place<Form::q5_0>(q5_0, 70, 192, 2.5e-4);
    expect_weights_in_place<Form::q5_1>(q5_1, 70, 192, 2.5e-4);
    expect_weights_in_place<Form::q8_0>(q8_0, 70, 192, 2.5e-4);
    expect_weights_in_place<Form::iq4_nl>(iq4_nl, 70, 192, 2.5e-4);
    expect_weights_in_place<Form::q2_k>(q2_k, 70, 512, 4e-4);
    expect_weights_in_place<Form::q3_k>(q3_k, 70, 512, 3e-4);
    expect_weights_in_place<Form::q4_k>(q4_k, 70, 512, 4e-4);
    expect_weights_in_place<Form::q5_k>(q5_k, 70, 512, 4e-4);
    expect_weights_in_place<Form::q6_k>(q6_k, 70, 512, 3.5e-4);
    expect_weights_in_place<Form::iq4_xs>(iq4_xs, 70, 512, 3.5e-4);
    expect_weights_in_place<Form::f16>(f16, 70, 75, 0);
    expect_weights_in_place<Form::f16>(bf16, 70, 75, 0);
    expect_weights_in_place<Form::f32>(f32, 70, 75, 1e-7);
}

TEST(CudaMatmul, AGroupsUnitsAreRunsOfBytesThatFillTheMatrix) {
    for (const int tiles : {1, 3, 4, 6, 8, 9}) {
        constexpr int units = 3, unit = unit_bytes(Form::q6_k);
        std::set<std::size_t> starts;
        for (int tile = 0; tile < tiles; ++tile) {
            const TilePlace place = place_of_tile(Form::q6_k, tile, tiles, units);
            for (int u = 0; u < units; ++u)
                starts.insert(place.first + static_cast<std::size_t>(u * place.stride));
            // Beside the group's tile before, and behind all of the group before.
            const TilePlace before = tile > 0 ? place_of_tile(Form::q6_k, tile - 1, tiles, units) : TilePlace{};
            if (tile % group_tiles > 0)
                EXPECT_EQ(place.first, before.first + unit);
            else
                EXPECT_EQ(place.first, static_cast<std::size_t>(tile * units * unit));
            EXPECT_EQ(place.stride, std::min(group_tiles, tiles - tile / group_tiles * group_tiles) * unit);
        }
        ASSERT_EQ(starts.size(), static_cast<std::size_t>(tiles * units));
        EXPECT_EQ(*starts.rbegin(), static_cast<std::size_t>((tiles * units - 1) * unit)); // no gap: all are multiples
        for (const std::size_t start : starts)
            EXPECT_EQ(start % unit, 0u);
    }
}

TEST(CudaMatmul, AnOperandHoldsNothingButNumbers) {
    std::vector<std::byte> memory(3 * 128 * 2);
    const Operand operand{memory.data(), 3};
    operand.store2(1, 4, 1e9f, -1e9f);
    operand.store(1, 6, std::numeric_limits<float>::quiet_NaN());
    operand.store4(2, 64, {1.5f, -2.0f, 0.25f, 70000.0f});
    EXPECT_EQ(operand.load(1, 4), 65504.0f * 16);
    EXPECT_EQ(operand.load(1, 5), -65504.0f * 16);
    EXPECT_TRUE(std::isfinite(operand.load(1, 6)));
    EXPECT_EQ(operand.load(2, 64), 1.5f);
    EXPECT_EQ(operand.load(2, 65), -2.0f);
    EXPECT_NEAR(operand.load(2, 67), 70000.0f, 32.0f);
    EXPECT_EQ(operand.load(0, 64), 0.0f);
}

// One launch's worth of targets and how its shares come out.
struct Shares {
    Job job;
    std::vector<PlannedTarget> targets;
    int lanes, workers;

    explicit Shares(std::mt19937_64& rng) {
        constexpr Form some[] = {Form::q4_k, Form::q5_k, Form::q6_k, Form::q8_0, Form::q4_0, Form::f32};
        lanes = rng() % 2 ? 4 : 2;
        workers = rng() % 3 ? static_cast<int>(2 * (1 + rng() % 90)) : 132;
        job.gated = rng() % 3 == 0;
        const int inputs = static_cast<int>(256 * (1 + rng() % 68)),
                  count = job.gated ? 2 : static_cast<int>(1 + rng() % 4);
        const Form form = some[rng() % 6];
        int outputs = static_cast<int>(1 + rng() % 20000);
        for (int i = 0; i < count; ++i) {
            PlannedTarget target;
            target.form = !job.gated && lanes == 2 ? some[rng() % 6] : form;
            target.units = inputs / unit_inputs(target.form);
            target.target.outputs = outputs;
            target.target.tiles = (outputs + 63) / 64;
            targets.push_back(target);
            if (!job.gated) outputs = static_cast<int>(1 + rng() % 3000);
        }
        job.workers = workers;
        plan_groups(job, targets, workers, lanes);
    }
};

TEST(CudaMatmul, EveryTileBelongsToOneWarpgroup) {
    std::mt19937_64 rng(1);
    for (int i = 0; i < 300; ++i) {
        const Shares s(rng);
        std::set<std::pair<int, int>> seen;
        for (int r = 0; r < s.job.runs; ++r)
            for (int group = 0; group < s.job.run[r].groups; ++group)
                for (int lane = 0; lane < s.lanes; ++lane)
                    for (int slot = 0; slot < 2; ++slot) {
                        Tile tile{};
                        if (!find_tile(s.job, s.job.run[r], group, lane, s.lanes, slot, tile)) break;
                        ASSERT_TRUE(seen.insert({tile.target, tile.tile}).second);
                        ASSERT_LT(tile.tile, s.job.target[tile.target].tiles);
                    }
        std::size_t all = 0;
        for (const PlannedTarget& target : s.targets)
            all += static_cast<std::size_t>(target.target.tiles);
        ASSERT_EQ(seen.size(), all);
    }
}

// The order in which seats work, and what the finisher of a group waits for (finish.cuh: gather).
TEST(CudaMatmul, SharesCoverEveryUnitOnceAndNeverWaitInACircle) {
    std::mt19937_64 rng(2);
    for (int i = 0; i < 600; ++i) {
        const Shares s(rng);
        const auto workers = static_cast<unsigned>(s.workers);
        for (const unsigned seats : {workers, workers / 2}) {
            std::map<std::pair<int, int>, std::vector<Segment>> groups;
            std::vector<std::vector<Segment>> work(seats);
            std::map<int, int> parts; // that a worker leaves for others: it has room for one
            for (unsigned seat = 0; seat < seats; ++seat) {
                Walk walk(s.job, seat, seats, Walk::begin(s.job, seat, seats));
                Segment segment{};
                while (walk.next(segment)) {
                    work[seat].push_back(segment);
                    groups[{segment.run, segment.group}].push_back(segment);
                    if (segment.first > 0) ASSERT_EQ(++parts[segment.worker], 1);
                }
            }
            ASSERT_EQ(groups.size(), static_cast<std::size_t>(s.job.groups));
            for (auto& [key, segments] : groups) {
                std::sort(segments.begin(), segments.end(),
                          [](const Segment& a, const Segment& b) { return a.first < b.first; });
                int at = 0, worker = -1;
                for (const Segment& segment : segments) {
                    ASSERT_EQ(segment.first, at);
                    ASSERT_GT(segment.last, at);
                    ASSERT_GT(segment.worker, worker);
                    at = segment.last, worker = segment.worker;
                }
                const JobRun& run = s.job.run[key.first];
                ASSERT_EQ(at, run.units);
                std::size_t next = 1;
                const std::uint32_t end = run.first_unit + static_cast<std::uint32_t>((key.second + 1) * run.units);
                for (int other = segments[0].worker + 1; s.job.bound[other] < end; ++other) {
                    if (s.job.bound[other] == s.job.bound[other + 1]) continue;
                    ASSERT_LT(next, segments.size());
                    ASSERT_EQ(segments[next++].worker, other);
                }
                ASSERT_EQ(next, segments.size());
            }
            std::set<int> left_parts;
            std::vector<std::size_t> done(seats, 0);
            for (bool moved = true; moved;) {
                moved = false;
                for (unsigned seat = 0; seat < seats; ++seat)
                    for (; done[seat] < work[seat].size(); ++done[seat], moved = true) {
                        const Segment& segment = work[seat][done[seat]];
                        if (segment.first > 0)
                            left_parts.insert(segment.worker);
                        else {
                            const auto& all = groups[{segment.run, segment.group}];
                            if (!std::all_of(all.begin() + 1, all.end(),
                                             [&](const Segment& part) { return left_parts.contains(part.worker); }))
                                break;
                        }
                    }
            }
            for (unsigned seat = 0; seat < seats; ++seat)
                ASSERT_EQ(done[seat], work[seat].size());
        }
    }
}

// With half as many seats as workers each does two shares. A finisher must not wait for a share that another seat has yet to
// begin behind a wait of its own: then all groups would end one after the other.
TEST(CudaMatmul, SeatsWithSeveralSharesDoNotQueueBehindEachOther) {
    for (const int outputs : {5120, 17408, 1024}) {
        Job job;
        job.workers = 132;
        const PlannedTarget target{Form::q4_k, 20, {.outputs = outputs, .tiles = outputs / 64}};
        plan_groups(job, {&target, 1}, job.workers, 4);
        constexpr unsigned seats = 66;
        std::map<std::pair<int, int>, int> left; // group and worker: when its part was there, counted in units
        int busiest = 0, last = 0;
        for (int worker = 0; worker < job.workers; ++worker)
            busiest = std::max(busiest, static_cast<int>(job.bound[worker + 1] - job.bound[worker]));
        std::vector<int> clock(seats, 0);
        std::vector<std::vector<Segment>> work(seats);
        for (unsigned seat = 0; seat < seats; ++seat) {
            Walk walk(job, seat, seats, Walk::begin(job, seat, seats));
            for (Segment segment{}; walk.next(segment);)
                work[seat].push_back(segment);
        }
        for (int worker = job.workers - 1; worker >= 0; --worker) // a worker waits for higher ones only
            for (unsigned seat = 0; seat < seats; ++seat)
                for (const Segment& segment : work[seat]) {
                    if (segment.worker != worker) continue;
                    clock[seat] += segment.last - segment.first;
                    if (segment.first > 0) left[{segment.group, worker}] = clock[seat];
                    if (segment.first == 0)
                        for (const auto& [part, when] : left)
                            if (part.first == segment.group) clock[seat] = std::max(clock[seat], when);
                    last = std::max(last, clock[seat]);
                }
        EXPECT_LE(last, 3 * busiest) << outputs << " outputs";
    }
}

TEST(CudaMatmul, SharesOfOneFormDifferByLittleMoreThanAUnit) {
    Job job;
    const PlannedTarget down{Form::q4_k, 68, {.outputs = 5120, .tiles = 80}};
    plan_groups(job, {&down, 1}, 132, 4);
    for (int w = 0; w < 132; ++w) {
        const std::uint32_t units = job.bound[w + 1] - job.bound[w]; // 680 units of 10 groups
        EXPECT_GE(units, 5u);
        EXPECT_LE(units, 6u);
    }
}

} // namespace
} // namespace lucebox::compute::cuda
