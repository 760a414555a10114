// What a sampler asks of rows of logits, so that no row crosses to the host: the best token, masses of blocks, candidates, all
// under the row's mask. See Device::summarise.
//
// Candidates are found without sorting: all logits are counted by how far they lie below the best one, in bins, and the bins
// from the top that hold what was asked for are collected. Which bin that is decides nothing: whoever asked sorts them.
#include "compute/cuda/best.cuh"
#include "compute/cuda/launch.h"
#include "compute/cuda/rows.h"

#include <cmath>

namespace lucebox::compute::cuda {
namespace {

constexpr int threads = 256;
constexpr int scan_blocks = 64; // that share a row
constexpr int lanes = 16;       // that share a block's mass: compute::choice_lanes
constexpr int mass_block = static_cast<int>(RowSummary::mass_block);
constexpr int bins = 1024;               // the last one holds all that lies further down
constexpr float bins_a_temperature = 16; // 64 temperatures deep: e^-64 of the best is nothing
constexpr float share_margin = 5e-4f;    // what f32 sums in no order may be off by, and more

struct Workspace { // of a query
    Best found[scan_blocks];
    unsigned counts[bins];
    float masses[bins];
    int limit; // the last bin whose logits are candidates; -1: none
    int unused;
};

struct Args {
    const float* logits;
    const RowQuery* queries;
    const std::uint32_t* masks;
    std::byte* summaries;
    RowCandidate* more;
    Workspace* workspace;
    int width, words; // of a mask, of 32 tokens
};

// exp_negative of compute/row_choice.h, step by step.
__device__ __forceinline__ float weight_of(float logit, float best, float temperature) {
    const float x = __fdiv_rn(__fsub_rn(logit, best), temperature);
    const float bounded = x > -87.0f ? x : -87.0f;
    const float n = __fsub_rn(__fadd_rn(__fmul_rn(bounded, 1.44269504f), 12582912.0f), 12582912.0f);
    const float r = __fsub_rn(__fsub_rn(bounded, __fmul_rn(n, 0.693359375f)), __fmul_rn(n, -2.12194440e-4f));
    float sum = 1.0f / 5040;
    sum = __fadd_rn(__fmul_rn(sum, r), 1.0f / 720);
    sum = __fadd_rn(__fmul_rn(sum, r), 1.0f / 120);
    sum = __fadd_rn(__fmul_rn(sum, r), 1.0f / 24);
    sum = __fadd_rn(__fmul_rn(sum, r), 1.0f / 6);
    sum = __fadd_rn(__fmul_rn(sum, r), 0.5f);
    sum = __fadd_rn(__fmul_rn(sum, r), 1.0f);
    sum = __fadd_rn(__fmul_rn(sum, r), 1.0f);
    const float value = __fmul_rn(sum, __uint_as_float(static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23));
    return x > -87.0f ? value : 0.0f;
}

__device__ __forceinline__ int bin_of(float logit, float best, float temperature) {
    const float depth = __fmul_rn(__fdiv_rn(__fsub_rn(best, logit), temperature), bins_a_temperature);
    return depth < static_cast<float>(bins - 1) ? static_cast<int>(depth) : bins - 1;
}

// A query's row, as its kernels see it.
struct Row {
    RowQuery query;
    const float* logits;
    const std::uint32_t* mask;
    RowSummary* summary;
    double* masses;
    int width;

    __device__ explicit Row(const Args& args) : query(args.queries[blockIdx.y]), width(args.width) {
        const std::size_t row = static_cast<std::size_t>(query.row < 0 ? 0 : query.row);
        logits = args.logits + row * static_cast<std::size_t>(args.width);
        mask = args.masks + row * static_cast<std::size_t>(args.words);
        std::byte* const at = args.summaries + row * RowSummary::bytes(static_cast<std::size_t>(args.width));
        summary = reinterpret_cast<RowSummary*>(at);
        masses = reinterpret_cast<double*>(at + sizeof(RowSummary));
    }
    // The logit; minus infinity if its token may not come.
    __device__ float at(int id) const {
        if (query.masked != 0 && (mask[id / 32] >> (id % 32) & 1u) == 0) return -INFINITY;
        return logits[id];
    }
    __device__ bool asks() const { return query.row >= 0; }
    __device__ bool draws() const { return asks() && query.temperature > 0 && fabsf(summary->best) < INFINITY; }
    __device__ bool wants_candidates() const { return query.count > 0 || query.share > 0; }
};

__global__ void best_kernel(const Args args) {
    __shared__ Best shared[threads / 32];
    allow_next();
    wait_for_previous();
    const Row row(args);
    if (!row.asks()) return;
    Best best{-INFINITY, INT32_MAX};
    for (int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x); i < args.width; i += scan_blocks * threads) {
        const float value = row.at(i);
        if (value > best.value) best = {value, i};
    }
    best = block_best(best, shared);
    if (threadIdx.x == 0) args.workspace[blockIdx.y].found[blockIdx.x] = best;
}

__global__ void best_of_blocks_kernel(const Args args) {
    __shared__ Best shared[scan_blocks / 32];
    allow_next();
    wait_for_previous();
    const Row row(args);
    if (!row.asks()) return;
    Workspace& workspace = args.workspace[blockIdx.y];
    const Best best = block_best(workspace.found[threadIdx.x], shared);
    for (int i = static_cast<int>(threadIdx.x); i < bins; i += scan_blocks) {
        workspace.counts[i] = 0;
        workspace.masses[i] = 0;
    }
    if (threadIdx.x != 0) return;
    row.summary->best = best.value;
    row.summary->best_token = best.id == INT32_MAX ? 0 : best.id;
    row.summary->found = 0;
}

// Half a warp for each block of logits: its mass, and how many of its logits lie in which bin.
__global__ void __launch_bounds__(threads) weigh_kernel(const Args args) {
    __shared__ unsigned counts[bins];
    __shared__ float masses[bins];
    allow_next();
    wait_for_previous();
    const Row row(args);
    if (!row.draws()) return;
    const float best = row.summary->best, temperature = row.query.temperature, floor = __fadd_rn(best, row.query.floor);
    const bool binned = row.wants_candidates(), weighed = row.query.count == 0;
    const int thread = static_cast<int>(threadIdx.x), lane = thread % lanes;
    if (binned) {
        for (int i = thread; i < bins; i += threads) {
            counts[i] = 0;
            masses[i] = 0;
        }
        __syncthreads();
    }
    const int block = static_cast<int>(blockIdx.x) * (threads / lanes) + thread / lanes;
    const int begin = block * mass_block, size = max(0, min(mass_block, args.width - begin)), whole = size / lanes * lanes;
    const auto weight = [&](int i) {
        const float logit = row.at(begin + i);
        const bool counts_something = logit >= floor && logit > -INFINITY;
        const float value = weighed && counts_something ? weight_of(logit, best, temperature) : 0.0f;
        if (binned && counts_something) {
            const int bin = bin_of(logit, best, temperature);
            atomicAdd(&counts[bin], 1u);
            if (weighed) atomicAdd(&masses[bin], value);
        }
        return value;
    };
    float sum = 0;
    for (int i = lane; i < whole; i += lanes) sum = __fadd_rn(sum, weight(i));
    double mass = 0;
    for (int i = 0; i < lanes; ++i) mass += static_cast<double>(__shfl_sync(0xffffffffu, sum, thread % 32 / lanes * lanes + i));
    if (lane == 0) {
        for (int i = whole; i < size; ++i) mass += static_cast<double>(weight(i));
        if (weighed && size > 0) row.masses[block] = mass;
    }
    if (!binned) return;
    __syncthreads();
    Workspace& workspace = args.workspace[blockIdx.y];
    for (int i = thread; i < bins; i += threads) {
        if (counts[i] == 0) continue;
        atomicAdd(&workspace.counts[i], counts[i]);
        if (weighed) atomicAdd(&workspace.masses[i], masses[i]);
    }
}

// One warp: the bin down to which there is as much as was asked for.
__global__ void __launch_bounds__(32) limit_kernel(const Args args) {
    __shared__ unsigned count_sums[32];
    __shared__ float mass_sums[32];
    allow_next();
    wait_for_previous();
    const Row row(args);
    if (!row.draws() || !row.wants_candidates()) return;
    Workspace& workspace = args.workspace[blockIdx.y];
    constexpr int each = bins / 32;
    const int lane = static_cast<int>(threadIdx.x);
    unsigned count = 0;
    float mass = 0;
    for (int i = 0; i < each; ++i) {
        count += workspace.counts[lane * each + i];
        mass += workspace.masses[lane * each + i];
    }
    count_sums[lane] = count;
    mass_sums[lane] = mass;
    __syncwarp();
    if (lane != 0) return;
    float total = 0;
    for (int i = 0; i < 32; ++i) total += mass_sums[i];
    const bool all = row.query.count == 0 && row.query.share + share_margin >= 1;
    const float wanted = (row.query.share + share_margin) * total;
    const auto enough = [&](unsigned counted, float weighed) {
        return !all && (row.query.count > 0 ? counted >= row.query.count : weighed >= wanted);
    };
    unsigned counted = 0;
    float weighed = 0;
    int part = 0;
    while (part < 31 && !enough(counted + count_sums[part], weighed + mass_sums[part])) {
        counted += count_sums[part];
        weighed += mass_sums[part];
        ++part;
    }
    int bin = part * each;
    for (; bin < bins - 1; ++bin) {
        counted += workspace.counts[bin];
        weighed += workspace.masses[bin];
        if (enough(counted, weighed)) break;
    }
    workspace.limit = bin;
}

__global__ void __launch_bounds__(threads) collect_kernel(const Args args) {
    allow_next();
    wait_for_previous();
    const Row row(args);
    if (!row.draws() || !row.wants_candidates()) return;
    const float best = row.summary->best, temperature = row.query.temperature, floor = __fadd_rn(best, row.query.floor);
    const int limit = args.workspace[blockIdx.y].limit;
    constexpr unsigned near = RowSummary::near, room = RowSummary::room;
    RowCandidate* const more = args.more + static_cast<std::size_t>(row.query.row) * (room - near);
    for (int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x); i < args.width; i += scan_blocks * threads) {
        const float logit = row.at(i);
        if (!(logit >= floor && logit > -INFINITY) || bin_of(logit, best, temperature) > limit) continue;
        const unsigned place = atomicAdd(&row.summary->found, 1u);
        if (place < near) row.summary->candidate[place] = {logit, i};
        else if (place < room) more[place - near] = {logit, i};
    }
}

} // namespace

std::size_t summary_workspace_bytes(std::size_t queries) { return queries * sizeof(Workspace); }

void summarise(const SummaryCall& call, std::byte* workspace, cudaStream_t stream) {
    const Args args{call.logits.data,
                    call.queries,
                    reinterpret_cast<const std::uint32_t*>(call.masks),
                    call.summaries,
                    call.more,
                    reinterpret_cast<Workspace*>(workspace),
                    static_cast<int>(call.logits.width),
                    static_cast<int>(2 * mask_words(call.logits.width))};
    const auto queries = static_cast<unsigned>(call.count);
    const auto masses = static_cast<unsigned>(RowSummary::masses(call.logits.width));
    launch(best_kernel, dim3(scan_blocks, queries), dim3(threads), 0, stream, args);
    launch(best_of_blocks_kernel, dim3(1, queries), dim3(scan_blocks), 0, stream, args);
    launch(weigh_kernel, dim3((masses + threads / lanes - 1) / (threads / lanes), queries), dim3(threads), 0, stream, args);
    launch(limit_kernel, dim3(1, queries), dim3(32), 0, stream, args);
    launch(collect_kernel, dim3(scan_blocks, queries), dim3(threads), 0, stream, args);
}

} // namespace lucebox::compute::cuda
