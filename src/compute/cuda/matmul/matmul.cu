// Chooses the kernel and its shared memory for a product, and launches it.
#include "compute/cuda/matmul/matmul.h"

#include "compute/cuda/matmul/finish.cuh"
#include "compute/cuda/matmul/kernels.h"
#include "compute/cuda/matmul/matrix.h"
#include "compute/cuda/matmul/plan.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

namespace lucebox::compute::cuda {

namespace {

constexpr std::array widths{8, 16, 32, 64, 128}; // rows that an instance multiplies at once
Kernel stream_kernel(std::size_t width, Form form) {
    constexpr std::array by_width{stream_kernel_8, stream_kernel_16, stream_kernel_32, stream_kernel_64,
                                  stream_kernel_128};
    return by_width[width](form);
}
std::array<Kernel, 4> fallback_kernels() {
    return {fallback_kernel_8(), fallback_kernel_16(), fallback_kernel_32(), fallback_kernel_64()};
}
constexpr int forms = static_cast<int>(Form::f32) + 1;

// What is asked of the driver once for each card.
struct Card {
    int processors = 0;
    std::size_t shared = 0, shared_of_block = 0; // of a multiprocessor, of a block
    bool stream = false;                         // the wgmma kernels run here
    bool dependent_launch = false;
};

const Card& card() {
    constexpr int most = 64;
    static std::array<Card, most> cards;
    static std::array<std::once_flag, most> asked;
    int device = 0;
    cudaGetDevice(&device);
    device = std::clamp(device, 0, most - 1);
    std::call_once(asked[static_cast<std::size_t>(device)], [&] {
        Card& c = cards[static_cast<std::size_t>(device)];
        auto ask = [&](cudaDeviceAttr attribute) {
            int value = 0;
            cudaDeviceGetAttribute(&value, attribute, device);
            return value;
        };
        c.processors = ask(cudaDevAttrMultiProcessorCount);
        c.shared = static_cast<std::size_t>(ask(cudaDevAttrMaxSharedMemoryPerMultiprocessor));
        c.shared_of_block = static_cast<std::size_t>(ask(cudaDevAttrMaxSharedMemoryPerBlockOptin));
        c.dependent_launch = ask(cudaDevAttrComputeCapabilityMajor) >= 9;
        // The empty form of the kernel, that other architectures have, is bounded to one warp.
        cudaFuncAttributes attributes{};
        c.stream = cudaFuncGetAttributes(&attributes, stream_kernel(0, Form::q4_k)) == cudaSuccess &&
                   attributes.maxThreadsPerBlock >= stream_threads;
        for (std::size_t i = 0; i < widths.size(); ++i)
            for (int f = 0; f < forms && c.stream; ++f)
                cudaFuncSetAttribute(stream_kernel(i, static_cast<Form>(f)),
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(c.shared_of_block));
        for (const Kernel kernel : fallback_kernels())
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(fallback_shared_bytes(64)));
    });
    return cards[static_cast<std::size_t>(device)];
}

int blocks_of_worker() {
    return card().stream ? stream_blocks : 1;
}
// Among whom shares are dealt out, for any number of rows: as for two blocks an SM, also where an instance has one; even.
int workers_of_card() {
    return std::min(card().processors * 2 / blocks_of_worker(), max_workers) / 2 * 2;
}

std::size_t width_index(std::size_t rows) {
    std::size_t i = 0;
    while (i + 1 < widths.size() && static_cast<std::size_t>(widths[i]) < rows)
        ++i;
    return i;
}

// Shared memory of a wgmma launch, and how many of its blocks an SM holds.
struct StreamRoom {
    std::size_t bytes;
    int residents;
};

// As many weight slots as fit: in half of a multiprocessor's memory if the instance is made for two blocks, else in all.
StreamRoom choose_room(Job& job, std::size_t width) {
    constexpr std::array<int, 5> stages{8, 6, 4, 4, 4};
    constexpr std::size_t reserved = 1024; // by the system, for each block
    const int n = widths[width];
    job.activation_stages = stages[width];
    job.slot_bytes = part_bytes(job.run[0].form);
    auto fits = [&](std::size_t room) {
        job.weight_slots = 0;
        auto bytes = [&](int slots) { return stream_shared_bytes(n, job.activation_stages, slots, job.slot_bytes); };
        while (job.weight_slots < 8 && bytes(job.weight_slots + 1) <= room)
            ++job.weight_slots;
        return job.weight_slots >= 2;
    };
    int residents = stream_residents(n);
    if (residents == 2 && !fits(card().shared / 2 - reserved)) residents = 1;
    if (residents == 1 && !fits(card().shared_of_block)) {
        job.activation_stages = 2;
        fits(card().shared_of_block);
    }
    return {stream_shared_bytes(n, job.activation_stages, job.weight_slots, job.slot_bytes), residents};
}

void launch(Kernel kernel, dim3 grid, int threads, std::size_t shared, int cluster, const Job& job,
            cudaStream_t stream) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    cudaLaunchAttribute attributes[2];
    unsigned count = 0;
    if (card().dependent_launch) {
        attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster > 1) {
        attributes[count].id = cudaLaunchAttributeClusterDimension;
        attributes[count].val.clusterDim.x = static_cast<unsigned>(cluster);
        attributes[count].val.clusterDim.y = attributes[count].val.clusterDim.z = 1;
        ++count;
    }
    config.attrs = attributes;
    config.numAttrs = count;
    void* arguments[] = {const_cast<Job*>(&job)};
    cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), arguments);
}

void run(Job& job, std::span<const PlannedTarget> targets, cudaStream_t stream) {
    const int blocks = blocks_of_worker();
    job.workers = workers_of_card();
    plan_groups(job, targets, job.workers, 2 * blocks);
    std::size_t i = width_index(job.rows);
    if (!card().stream) i = std::min<std::size_t>(i, fallback_kernels().size() - 1);
    const auto n = static_cast<std::uint32_t>(widths[i]);
    job.columns = job.rows > 64 ? static_cast<int>((job.rows + n - 1) / n) : 0;
    if (card().stream) {
        // All blocks must run at once, since some wait for others: one or two to an SM.
        const StreamRoom room = choose_room(job, i);
        const int seats = room.residents == 2 ? job.workers : job.workers / 2;
        launch(stream_kernel(i, job.run[0].form), dim3(static_cast<unsigned>(seats * blocks)), stream_threads,
               room.bytes, stream_blocks, job, stream);
    } else {
        launch(fallback_kernels()[i], dim3(static_cast<unsigned>(job.workers)), fallback_threads,
               fallback_shared_bytes(widths[i]), 1, job, stream);
    }
}

const PackedCudaMatrix& packed(const CudaMatrix& matrix) {
    return static_cast<const PackedCudaMatrix&>(matrix);
}

PlannedTarget planned(const CudaMatrix& matrix, const float* bias, float* out, bool accumulate) {
    const PackedCudaMatrix& m = packed(matrix);
    return {
        m.form(),
        m.units(),
        {m.units_at(), m.header(), bias, out, static_cast<std::int32_t>(m.outputs()), m.tiles(), accumulate ? 1 : 0}};
}

Job job_of(const std::byte* operand, std::size_t rows, std::byte* workspace) {
    Job job;
    job.operand = operand;
    job.rows = static_cast<std::uint32_t>(rows);
    job.workspace = workspace;
    return job;
}

// Where the two products of a gate and an up projection of different forms meet: behind the split sums.
std::size_t parts_bytes() {
    return flag_bytes + static_cast<std::size_t>(workers_of_card() * blocks_of_worker() * 2) * 64 * warpgroup_threads *
                            sizeof(float);
}

__global__ void convert(const float* x, std::uint32_t rows, std::uint32_t width, Operand out) {
    ptx::launch_dependents();
    ptx::wait_for_dependencies();
    const std::uint32_t k = (blockIdx.x * blockDim.x + threadIdx.x) * 2, row = blockIdx.y;
    if (k >= (width + 127) / 128 * 128) return;
    const float* from = x + static_cast<std::size_t>(row) * width + k;
    out.store2(row, k, k < width ? from[0] : 0.0f, k + 1 < width ? from[1] : 0.0f);
}

__global__ void join_gate(const float* gate, const float* up, std::uint32_t width, Activation activation, Operand out) {
    ptx::launch_dependents();
    ptx::wait_for_dependencies();
    const std::uint32_t k = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (k >= width) return;
    const std::size_t at = static_cast<std::size_t>(row) * width + k;
    out.store(row, k, activated(activation, gate[at]) * up[at]);
}

} // namespace

std::size_t matmul_workspace_bytes(std::span<const CudaMatrix* const> matrices, std::size_t rows) {
    std::size_t widest = 0; // of matrices that could be a gate and an up projection of different forms
    for (std::size_t i = 0; i < matrices.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) {
            const PackedCudaMatrix &a = packed(*matrices[i]), &b = packed(*matrices[j]);
            if (a.form() != b.form() && a.inputs() == b.inputs() && a.outputs() == b.outputs())
                widest = std::max(widest, a.outputs());
        }
    return parts_bytes() + 2 * rows * widest * sizeof(float);
}

void to_operand(const float* x, std::size_t rows, std::size_t width, std::byte* operand, cudaStream_t stream) {
    if (rows == 0) return;
    const std::size_t pairs = (width + 127) / 128 * 64;
    convert<<<dim3(static_cast<unsigned>((pairs + 127) / 128), static_cast<unsigned>(rows)), 128, 0, stream>>>(
        x, static_cast<std::uint32_t>(rows), static_cast<std::uint32_t>(width),
        Operand{operand, static_cast<std::uint32_t>(rows)});
}

void matmul(const std::byte* operand, std::size_t rows, std::span<const MatmulTarget> targets, std::byte* workspace,
            cudaStream_t stream) {
    if (rows == 0) return;
    std::vector<PlannedTarget> all;
    for (const MatmulTarget& t : targets)
        all.push_back(planned(*t.matrix, t.bias, t.out, t.accumulate));
    // The wgmma kernels take one form each.
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.form < b.form; });
    const std::span<const PlannedTarget> rest(all);
    for (std::size_t first = 0, last = 0; first < rest.size(); first = last) {
        while (last < rest.size() && last - first < max_targets &&
               (!card().stream || rest[last].form == rest[first].form))
            ++last;
        Job job = job_of(operand, rows, workspace);
        run(job, rest.subspan(first, last - first), stream);
    }
}

void gated_matmul(const std::byte* operand, std::size_t rows, const CudaMatrix& gate, const CudaMatrix& up,
                  Activation activation, std::byte* out_operand, std::byte* workspace, cudaStream_t stream) {
    if (rows == 0) return;
    if (packed(gate).form() == packed(up).form()) {
        Job job = job_of(operand, rows, workspace);
        job.gated = 1;
        job.activation = activation;
        job.out_operand = out_operand;
        const std::array both{planned(gate, nullptr, nullptr, false), planned(up, nullptr, nullptr, false)};
        return run(job, both, stream);
    }
    auto* first = reinterpret_cast<float*>(workspace + parts_bytes());
    float* second = first + rows * gate.outputs();
    const std::array both{MatmulTarget{&gate, nullptr, first, false}, MatmulTarget{&up, nullptr, second, false}};
    matmul(operand, rows, both, workspace, stream);
    const auto width = static_cast<std::uint32_t>(gate.outputs());
    join_gate<<<dim3((width + 127) / 128, static_cast<unsigned>(rows)), 128, 0, stream>>>(
        first, second, width, activation, Operand{out_operand, static_cast<std::uint32_t>(rows)});
}

} // namespace lucebox::compute::cuda
