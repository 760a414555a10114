// What a DeltaNet layer costs on the GPU, in the shape of Qwen3.6-27B: 48 layers in a row, as a model runs them, from one
// CUDA graph. Prints microseconds a layer and what share of the read bandwidth the state's traffic takes.
#include "../tests/compute/cuda_delta_net.h"

#include <cstdio>
#include <string>

namespace {

using namespace lucebox::compute::cuda;
using namespace lucebox::compute::cuda::testing;

constexpr std::size_t layers = 48;

struct Case {
    std::string name;
    std::vector<Rows> sequences;
};

std::vector<std::int32_t> path(std::size_t rows) {
    std::vector<std::int32_t> parent;
    for (std::size_t i = 0; i < rows; ++i) parent.push_back(static_cast<int>(i) - 1);
    return parent;
}

// A path with a side branch of three rows at every fourth row.
std::vector<std::int32_t> tree(std::size_t rows) {
    std::vector<std::int32_t> parent;
    int end = -1;
    while (parent.size() < rows) {
        const int at = static_cast<int>(parent.size());
        const int branch = at % 8;
        parent.push_back(branch == 5 ? end : at - 1);
        if (branch < 5) end = at;
        if (branch == 7 && parent.size() < rows) {
            parent.push_back(end);
            end = static_cast<int>(parent.size()) - 1;
        }
    }
    return parent;
}

double microseconds(std::vector<Layer>& stack, const Shape& shape, const std::vector<Rows>& sequences, bool without_cluster) {
    std::mt19937 random{1};
    const lucebox::compute::StepPlan plan = make_plan(sequences);
    const Inputs inputs(shape, plan.rows.size(), random);
    const DevicePlan device(plan);
    const Memory<float> qkv(inputs.qkv), z(inputs.z), alpha(inputs.alpha), beta(inputs.beta);
    const Memory<float> out(inputs.rows * shape.value_width());
    const Memory<std::byte> operand((inputs.rows + 8) * (shape.value_width() + 128) * 2);
    cudaStream_t stream = nullptr;
    expect_ok(cudaStreamCreate(&stream), "stream");
    expect_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (Layer& layer : stack) {
        DeltaNetLaunch launch;
        launch.step = device.state.data();
        launch.sequence = device.sequences.data();
        launch.row = device.rows.data();
        launch.sequences = sequences.size();
        launch.rows = inputs.rows;
        launch.operand = operand.data();
        launch.operand_rows = inputs.rows;
        launch.write_out = false;
        launch.without_cluster = without_cluster;
        launch.workspace = layer.workspace();
        launch.stream = stream;
        delta_net(layer.args(qkv, z, alpha, beta, out, inputs.rows), launch);
    }
    cudaGraph_t graph = nullptr;
    expect_ok(cudaStreamEndCapture(stream, &graph), "capture");
    cudaGraphExec_t run = nullptr;
    expect_ok(cudaGraphInstantiate(&run, graph, 0), "graph");
    cudaEvent_t begin = nullptr, end = nullptr;
    expect_ok(cudaEventCreate(&begin), "event");
    expect_ok(cudaEventCreate(&end), "event");
    std::vector<double> times;
    const int repetitions = inputs.rows > 1000 ? 5 : 21;
    for (int i = 0; i < repetitions; ++i) {
        cudaEventRecord(begin, stream);
        cudaGraphLaunch(run, stream);
        cudaEventRecord(end, stream);
        expect_ok(cudaStreamSynchronize(stream), "run");
        float ms = 0;
        cudaEventElapsedTime(&ms, begin, end);
        times.push_back(ms * 1e3 / layers);
    }
    std::ranges::sort(times);
    cudaGraphExecDestroy(run);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
    return times[times.size() / 2];
}

} // namespace

int main() {
    if (!has_gpu()) return std::puts("skipped: no GPU"), 0;
    const Shape shape{16, 48, 128, 4};
    std::mt19937 random{7};
    const Weights weights(shape, random);
    std::vector<Layer> stack;
    for (std::size_t i = 0; i < layers; ++i) stack.emplace_back(shape, weights, 2, 8192);
    std::vector<std::int32_t> accepted;
    for (std::int32_t i = 0; i < 6; ++i) accepted.push_back(i);
    std::vector<Case> cases{{"plain decoding, 1 row", {{0, path(1), true, {}, 0}}},
                            {"2 sequences, 1 row each", {{0, path(1), true, {}, 0}, {1, path(1), true, {}, 0}}},
                            {"1 row, 1 pending", {{0, path(1), false, {0}, 0}}}};
    for (const std::size_t rows : {2, 4, 8, 16, 24, 32, 48, 64}) {
        cases.push_back({"path of " + std::to_string(rows) + ", 6 pending", {{0, path(rows), false, accepted, 0}}});
        if (rows >= 8) cases.push_back({"tree of " + std::to_string(rows) + ", 6 pending", {{0, tree(rows), false, accepted, 0}}});
    }
    cases.push_back({"path of 64, stays", {{0, path(64), true, {}, 0}}});
    for (const std::size_t rows : {512, 2048, 8192}) cases.push_back({"prompt of " + std::to_string(rows), {{0, path(rows), true, {}, 0}}});
    std::printf("%-28s %10s %10s   us a layer: one kernel, two kernels\n", "", "one", "two");
    for (const Case& c : cases) {
        const double one = microseconds(stack, shape, c.sequences, false), two = microseconds(stack, shape, c.sequences, true);
        std::printf("%-28s %10.2f %10.2f\n", c.name.c_str(), one, two);
    }
    return 0;
}
