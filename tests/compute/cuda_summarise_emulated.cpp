// The GPU's summaries of rows of logits on the emulator, put to the test of summarise_test.cpp. A program of its own, because
// the emulator redefines what nvcc would define.
#include "cuda_emulator.h"

#include "compute/cuda/summarise.cu"

#include "summary_cases.h"

#include "compute/cpu/cpu_device.h"

namespace lucebox::compute::cuda {
namespace {

// Memory as the CPU has it; summaries as the executor launches them.
class EmulatedGpu final : public Device {
public:
    std::string_view name() const override { return "emulated"; }
    double measure_read_rate(std::size_t) override { return 0; }
    Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes) override { return cpu_->allocate(bytes); }
    void upload(std::byte* to, std::span<const std::byte> from) override { std::memcpy(to, from.data(), from.size()); }
    void download(std::span<std::byte> to, const std::byte* from) override { std::memcpy(to.data(), from, to.size()); }
    void copy(std::byte*, const std::byte*, std::size_t) override {}
    void zero(std::byte*, std::size_t) override {}
    KvBytes kv_bytes(const KvView&) const override { return {}; }
    void move_tokens(const KvView&, std::size_t, std::size_t, std::span<const std::int32_t>) override {}
    Result<std::unique_ptr<Matrix>> load_matrix(const gguf::Tensor&) override { return Error{ErrorKind::unsupported, ""}; }
    Result<Vector> load_vector(const gguf::Tensor&) override { return Error{ErrorKind::unsupported, ""}; }
    Status prepare(std::size_t, std::size_t) override { return Ok{}; }
    void begin_step(const StepPlan&) override {}
    void end_step() override { launch_descending = !launch_descending; }
    void explain(StepTimes*) override {}
    void embed(const Matrix&, float, Tensor) override {}
    void rms_norm(Tensor, const Vector&, float, Tensor) override {}
    void add_rms_norm(Tensor, const Vector&, float, Tensor) override {}
    void project(Tensor, std::span<const Projection>) override {}
    void gated_project(Tensor, const Matrix&, const Matrix&, Activation, Tensor) override {}
    void attention(const AttentionArgs&) override {}
    void store_kv(const AttentionArgs&) override {}
    void delta_net(const DeltaNetArgs&) override {}
    void gather_outputs(Tensor, Tensor) override {}
    void store_columns(Tensor, Tensor, std::size_t) override {}
    void top_k(Tensor, std::size_t, std::int32_t*, float*) override {}
    void best_tokens(Tensor, std::int32_t*) override {}
    void summarise(Tensor logits, const RowQuery* queries, std::size_t count, const std::uint64_t* masks, std::byte* summaries, RowCandidate* more) override {
        std::vector<std::byte> workspace(summary_workspace_bytes(count), std::byte{0x7f});
        cuda::summarise({logits, queries, count, masks, summaries, more}, workspace.data(), nullptr);
    }

private:
    std::unique_ptr<Device> cpu_ = cpu::make_device({.threads = 1, .reference = false});
};

TEST(EmulatedSummarise, TellsTheBestTheMassesAndAHeadOfTheCandidates) {
    EmulatedGpu device;
    constexpr std::size_t widths[] = {1, 17, 300, 2048, 20001};
    testing::check_summaries(device, widths);
}

} // namespace
} // namespace lucebox::compute::cuda
