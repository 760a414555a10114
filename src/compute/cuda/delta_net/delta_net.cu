#include "compute/cuda/delta_net/delta_net.h"

#include "compute/cuda/delta_net/chunk.cuh"
#include "compute/cuda/delta_net/step.cuh"

#include <algorithm>
#include <climits>
#include <cmath>

namespace lucebox::compute::cuda {
namespace delta {
namespace {

constexpr int finish_threads = 256;

// A kernel that may start while its predecessor still runs (it waits by itself), `parts` blocks to a cluster.
template <class... Arguments>
void start(void (*kernel)(Arguments...), dim3 grid, int threads, int shared_bytes, int cluster, bool early, cudaStream_t stream,
           Arguments... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
    config.stream = stream;
    cudaLaunchAttribute attributes[2];
    config.attrs = attributes;
    if (early) {
        attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster > 1) {
        attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
        attributes[config.numAttrs].val.clusterDim.x = static_cast<unsigned>(cluster);
        attributes[config.numAttrs].val.clusterDim.y = 1;
        attributes[config.numAttrs++].val.clusterDim.z = 1;
    }
    cudaLaunchKernelEx(&config, kernel, arguments...);
}

// What this card can do, and how a shape is cut for it.
struct Plan {
    Layout layout{128, 1, 0};
    bool early = false;   // kernels may start while the ones before them end
    bool cluster = false; // the blocks of a head group work together: one kernel is enough
    int shared_bytes = 0; // of a block, at most
};

Plan make_plan(int key_heads, int value_heads, int dim, bool without_cluster) {
    Plan plan;
    int device = 0, major = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&plan.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    // The code decides, not the card alone: PTX of an older architecture runs on newer cards, without clusters.
    cudaFuncAttributes code{};
    cudaFuncGetAttributes(&code, finish_kernel);
    plan.early = major >= 9 && code.ptxVersion >= 90;
    const int heads_per_key = value_heads / key_heads;
    int heads = 1;
    for (int h = 2; h <= 3 && dim == 128; ++h) {
        if (heads_per_key % h == 0) heads = h;
    }
    plan.cluster = plan.early && dim == 128 && heads == heads_per_key && !without_cluster;
    // Clusters take two blocks an SM: otherwise not all clusters of the 27B may fit at once (a cluster needs its SMs in one
    // group, and not every group has two times eight). They keep the states of the largest trees in the workspace; others
    // rather take a head a block than do that.
    if (!plan.cluster) heads = 1;
    const int budget = (plan.cluster ? std::min(plan.shared_bytes, 227 * 1024 / 2) : plan.shared_bytes) - 2048;
    for (int saves = max_saved_states; saves >= 0; --saves) {
        plan.layout = Layout(dim, heads, saves);
        if (plan.layout.floats * 4 <= budget) break;
    }
    return plan;
}

auto choose_kernel(const Plan& plan) {
    if (plan.layout.dim != 128) return step_kernel<false, false, 1>;
    if (!plan.cluster) return step_kernel<false, true, 1>;
    if (plan.layout.heads == 3) return step_kernel<true, true, 3>;
    if (plan.layout.heads == 2) return step_kernel<true, true, 2>;
    return step_kernel<true, true, 1>;
}

// Rows are cut at absolute multiples of 64; where the first is in its chunk, the host does not know.
void run_chunks(const Params& p, const Plan& plan, const DeltaNetLaunch& launch, int shared_bytes) {
    const int most_chunks = static_cast<int>(launch.rows + 2 * chunk_rows - 2) / chunk_rows;
    const bool deep = shared_bytes >= 6 * tile_bytes;
    auto* carry = deep ? carry_kernel<6> : carry_kernel<3>;
    const int carry_bytes = (deep ? 6 : 3) * tile_bytes;
    cudaFuncSetAttribute(chunk_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, chunk_shared_bytes);
    cudaFuncSetAttribute(carry, cudaFuncAttributeMaxDynamicSharedMemorySize, carry_bytes);
    const auto heads = static_cast<unsigned>(p.value_heads);
    for (int sequence = 0; sequence < static_cast<int>(launch.sequences); ++sequence) {
        for (int first = 0; first < most_chunks; first += chunks_at_once) {
            const auto chunks = static_cast<unsigned>(std::min(chunks_at_once, most_chunks - first));
            start(chunk_kernel, dim3(chunks, heads), chunk_threads, chunk_shared_bytes, 1, plan.early, launch.stream, p,
                  launch.workspace, sequence, first);
            start(carry, dim3(128 / (carry_warps * 16), heads), carry_warps * 32, carry_bytes, 1, plan.early, launch.stream, p,
                  static_cast<const std::byte*>(launch.workspace), sequence, first);
        }
    }
}

} // namespace

Params make_params(const DeltaNetArgs& args, const StepState* step, const StepSequence* sequence, const StepRow* row) {
    Params p{};
    p.step = step;
    p.sequence = sequence;
    p.row = row;
    p.qkv = args.qkv.data;
    p.z = args.z.data;
    p.alpha = args.alpha.data;
    p.beta = args.beta.data;
    p.qkv_stride = static_cast<int>(args.qkv.width);
    p.z_stride = static_cast<int>(args.z.width);
    p.gate_stride = static_cast<int>(args.alpha.width);
    p.out_stride = static_cast<int>(args.out.width);
    p.conv_weight = args.conv->data();
    p.a = args.a->data();
    p.dt_bias = args.dt_bias->data();
    p.norm = args.norm->data();
    p.epsilon = args.epsilon;
    p.query_scale = 1 / std::sqrt(static_cast<float>(args.dim));
    p.key_heads = static_cast<int>(args.key_heads);
    p.value_heads = static_cast<int>(args.value_heads);
    p.dim = static_cast<int>(args.dim);
    p.taps = static_cast<int>(args.conv_width);
    p.channels = (2 * p.key_heads + p.value_heads) * p.dim;
    p.state = args.cache.state;
    p.conv = args.cache.conv;
    p.scratch = args.cache.scratch;
    p.out = args.out.data;
    p.longest_walk = args.dim == 128 ? chunk_rows : INT_MAX;
    return p;
}

} // namespace delta

bool delta_net_supports(std::size_t dim, std::size_t conv_width) {
    return dim % 16 == 0 && dim <= 128 && conv_width >= 2 && conv_width <= delta::max_taps;
}

std::size_t delta_net_workspace_bytes(std::size_t rows, std::size_t sequences, std::size_t key_heads, std::size_t value_heads,
                                      std::size_t dim) {
    using namespace delta;
    const Layout layout = make_plan(static_cast<int>(key_heads), static_cast<int>(value_heads), static_cast<int>(dim), false).layout;
    std::size_t saves = 256;
    if (layout.shared_saves < max_saved_states) {
        const auto states = static_cast<std::size_t>(max_saved_states - layout.shared_saves);
        const std::size_t tree_rows = std::min<std::size_t>(rows, 64 * sequences);
        const std::size_t regions = tree_rows / static_cast<std::size_t>(rows_that_save(layout.shared_saves + 1)) + 1;
        saves = regions * states * value_heads * dim * padded_keys * sizeof(float);
    }
    const bool chunked = dim == 128 && rows > chunk_rows;
    return std::max(saves, chunked ? value_heads * chunks_at_once * ChunkMemory::bytes : 0);
}

void delta_net(const DeltaNetArgs& args, const DeltaNetLaunch& launch) {
    using namespace delta;
    Params p = make_params(args, launch.step, launch.sequence, launch.row);
    p.operand = launch.operand;
    p.operand_rows = static_cast<std::uint32_t>(launch.operand_rows);
    p.write_out = launch.write_out;
    p.saves = reinterpret_cast<float*>(launch.workspace);
    const Plan plan = make_plan(p.key_heads, p.value_heads, p.dim, launch.without_cluster);
    const Layout& layout = plan.layout;
    const dim3 grid(static_cast<unsigned>(layout.parts), static_cast<unsigned>(p.value_heads / layout.heads),
                    static_cast<unsigned>(launch.sequences));
    auto* kernel = choose_kernel(plan);
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, layout.floats * 4);
    start(kernel, grid, layout.walkers * 64, layout.floats * 4, plan.cluster ? layout.parts : 1, plan.early, launch.stream, p,
          layout);
    const bool chunked = launch.rows > static_cast<std::size_t>(p.longest_walk);
    const auto blocks = static_cast<unsigned>(std::min<std::size_t>((launch.rows * args.value_heads * 32 + finish_threads - 1) / finish_threads, 2048));
    const dim3 finish_grid(blocks, static_cast<unsigned>(1 + launch.sequences));
    const int what = (plan.cluster ? 0 : finish_walked) | (chunked ? fold_pending : 0);
    // Tails alone are a few thousand channels.
    const dim3 first_grid(plan.cluster ? std::min(blocks, 32u) : blocks, finish_grid.y);
    if (what) start(finish_kernel, first_grid, finish_threads, 0, 1, plan.early, launch.stream, p, what);
    if (!chunked) return;
    run_chunks(p, plan, launch, plan.shared_bytes);
    start(finish_kernel, finish_grid, finish_threads, 0, 1, plan.early, launch.stream, p, static_cast<int>(finish_chunked));
}

} // namespace lucebox::compute::cuda
