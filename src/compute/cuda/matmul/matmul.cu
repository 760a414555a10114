// Products as jobs for the launcher; and what turns activations into operands.
#include "compute/cuda/matmul/matmul.h"

#include "compute/cuda/launch.h"
#include "compute/cuda/matmul/finish.cuh"
#include "compute/cuda/matmul/launcher.h"
#include "compute/cuda/matmul/matrix.h"

#include <algorithm>
#include <array>
#include <vector>

namespace lucebox::compute::cuda {

namespace {

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

WideJob wide_job_of(const std::byte* operand, std::size_t rows) {
    WideJob job;
    job.operand = operand;
    job.rows = static_cast<std::uint32_t>(rows);
    return job;
}
// Its counters lie behind the flags of split sums.
Launcher::WideProduct wide_product(std::byte* workspace) {
    static_assert(flag_bytes >= (max_workers * 4 + Launcher::most_wide_launches) * sizeof(std::uint32_t));
    return {reinterpret_cast<std::uint32_t*>(workspace + flag_bytes) - Launcher::most_wide_launches, 0, 0, 0};
}

// Where the two products of a gate and an up projection of different forms meet: behind the split sums.
std::size_t parts_bytes() {
    const Launcher& launcher = Launcher::of_device();
    return flag_bytes + static_cast<std::size_t>(launcher.workers() * launcher.blocks() * 2) * 64 * warpgroup_threads *
                            sizeof(float);
}

__global__ void convert(const float* x, std::uint32_t rows, std::uint32_t width, Operand out) {
    allow_next();
    wait_for_previous();
    const std::uint32_t k = (blockIdx.x * blockDim.x + threadIdx.x) * 2, row = blockIdx.y;
    if (k >= (width + 127) / 128 * 128) return;
    const float* from = x + static_cast<std::size_t>(row) * width + k;
    out.store2(row, k, k < width ? from[0] : 0.0f, k + 1 < width ? from[1] : 0.0f);
}

__global__ void join_gate(const float* gate, const float* up, std::uint32_t width, Activation activation, Operand out) {
    allow_next();
    wait_for_previous();
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
    Launcher::WideProduct product = wide_product(workspace);
    for (std::size_t first = 0, last = 0; first < rest.size(); first = last) {
        while (last < rest.size() && last - first < max_targets &&
               (!Launcher::of_device().one_form() || rest[last].form == rest[first].form))
            ++last;
        if (Launcher::of_device().wide(rows)) {
            Launcher::of_device().launch(wide_job_of(operand, rows), rest.subspan(first, last - first), product, last == rest.size(),
                                         stream);
        } else {
            Job job = job_of(operand, rows, workspace);
            Launcher::of_device().launch(job, rest.subspan(first, last - first), stream);
        }
    }
}

void gated_matmul(const std::byte* operand, std::size_t rows, const CudaMatrix& gate, const CudaMatrix& up,
                  Activation activation, std::byte* out_operand, std::byte* workspace, cudaStream_t stream) {
    if (rows == 0) return;
    if (packed(gate).form() == packed(up).form()) {
        const std::array both{planned(gate, nullptr, nullptr, false), planned(up, nullptr, nullptr, false)};
        const auto gated = [&](auto job) {
            job.gated = 1;
            job.activation = activation;
            job.out_operand = out_operand;
            return job;
        };
        if (Launcher::of_device().wide(rows)) {
            Launcher::WideProduct product = wide_product(workspace);
            return Launcher::of_device().launch(gated(wide_job_of(operand, rows)), both, product, true, stream);
        }
        Job job = gated(job_of(operand, rows, workspace));
        return Launcher::of_device().launch(job, both, stream);
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
