// The sampler on rows that stay on a device: the tokens of the same sampler on the rows themselves.
#include "../model/oracle.h"

#include "decode/runner_row.h"
#include "mask_constraint.h"

#include <functional>
#include <random>

namespace lucebox::decode {
namespace {

using compute::RowSummary;
using model::testing::gpu_is_here;
using model::testing::On;
using model::testing::Rig;

// A row in a device's memory, asked as a runner would.
class DeviceRow final : public RemoteRow {
public:
    DeviceRow(compute::Device& device, std::size_t width)
        : device_(device), width_(width), logits_(take(width * sizeof(float))), ids_(take(sizeof(TokenId))), query_(take(sizeof(compute::RowQuery))),
          mask_(take(compute::mask_words(width) * 8)), summary_(take(RowSummary::bytes(width))),
          more_(take((RowSummary::room - RowSummary::near) * sizeof(compute::RowCandidate))), host_(RowSummary::bytes(width)), all_(width) {
        plan_.rows.resize(1);
        plan_.sequences.resize(1);
        plan_.sequences[0].rows = 1;
    }
    void set(std::span<const float> logits) { device_.upload(logits_->data(), std::as_bytes(logits)); }

    std::size_t width() const override { return width_; }
    TokenId best() override {
        device_.begin_step(plan_);
        device_.best_tokens(tensor(), reinterpret_cast<TokenId*>(ids_->data()));
        device_.end_step();
        TokenId id = -1;
        device_.download(std::as_writable_bytes(std::span(&id, 1)), ids_->data());
        return id;
    }
    Summary summary(const compute::RowQuery& query, Mask mask) override {
        compute::RowQuery of_row = query;
        of_row.row = 0;
        device_.upload(query_->data(), std::as_bytes(std::span(&of_row, 1)));
        if (query.masked != 0) device_.upload(mask_->data(), std::as_bytes(mask));
        device_.begin_step(plan_);
        device_.summarise(tensor(), reinterpret_cast<const compute::RowQuery*>(query_->data()), 1, reinterpret_cast<const std::uint64_t*>(mask_->data()),
                          summary_->data(), reinterpret_cast<compute::RowCandidate*>(more_->data()));
        device_.end_step();
        device_.download(host_, summary_->data());
        return {reinterpret_cast<const RowSummary*>(host_.data()),
                {reinterpret_cast<const double*>(host_.data() + sizeof(RowSummary)), RowSummary::masses(width_)}};
    }
    std::span<const compute::RowCandidate> more(std::size_t count) override {
        far_.resize(count);
        device_.download(std::as_writable_bytes(std::span(far_)), more_->data());
        return far_;
    }
    std::span<const float> part(std::size_t first, std::size_t count) override {
        part_.resize(count);
        device_.download(std::as_writable_bytes(std::span(part_)), logits_->data() + first * sizeof(float));
        return part_;
    }
    std::span<float> whole() override {
        ++wholes;
        device_.download(std::as_writable_bytes(std::span(all_)), logits_->data());
        return all_;
    }
    int wholes = 0;

private:
    std::unique_ptr<compute::Buffer> take(std::size_t bytes) {
        auto buffer = device_.allocate(bytes);
        if (!buffer) throw std::runtime_error(buffer.error().message);
        return std::move(*buffer);
    }
    compute::Tensor tensor() const { return {reinterpret_cast<float*>(logits_->data()), 1, width_}; }

    compute::Device& device_;
    std::size_t width_;
    std::unique_ptr<compute::Buffer> logits_, ids_, query_, mask_, summary_, more_;
    std::vector<std::byte> host_;
    std::vector<float> all_, part_;
    std::vector<compute::RowCandidate> far_;
    compute::StepPlan plan_;
};

using Mask = MaskConstraint;

std::vector<SamplingParams> all_params() {
    std::vector<SamplingParams> all;
    const auto add = [&](float temperature, std::int32_t top_k, float top_p, float min_p) {
        SamplingParams params;
        params.temperature = temperature;
        params.top_k = top_k;
        params.top_p = top_p;
        params.min_p = min_p;
        params.seed = 7 + all.size();
        all.push_back(params);
    };
    add(0, 0, 1, 0);
    add(1, 0, 1, 0);
    add(0.7f, 0, 1, 0.05f);
    add(0.8f, 20, 0.95f, 0);
    add(1, 1, 1, 0);
    add(1.3f, 700, 0.9f, 0.01f);
    add(1, 1'000'000, 1, 0); // more than there are
    add(1, 0, 0.9f, 0);
    add(0.6f, 0, 0.5f, 0.02f);
    add(1, 0, 0, 0);
    add(0.01f, 0, 0.999f, 0);
    return all;
}

// Returns how often the whole row was asked for.
int expect_same_tokens(compute::Device& device, std::size_t width, float spread, int positions, bool odd = false) {
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    std::mt19937 random(static_cast<unsigned>(width));
    std::normal_distribution<float> normal(0, spread);
    DeviceRow row(device, width);
    Sampler here, there;
    for (int position = 0; position < positions; ++position) {
        std::vector<float> logits(width);
        for (float& logit : logits) {
            logit = normal(random);
            if (position % 2 == 1) logit = std::round(logit * 2) / 2; // ties
            if (odd && random() % 4 == 0) logit = random() % 2 == 0 ? nan : -infinity;
        }
        if (odd && position % 5 == 0) logits[random() % width] = infinity;
        if (odd && position % 7 == 0) std::ranges::fill(logits, nan);
        std::vector<std::uint64_t> bits(compute::mask_words(width));
        for (std::uint64_t& word : bits) word = position % 3 == 0 ? std::uint64_t{1} << random() % 64 : position % 3 == 1 ? 0
                                                                                                                          : (std::uint64_t{random()} << 32) + random();
        if (position % 3 == 1 && position % 2 == 0) bits[random() % bits.size()] = 0x11; // few tokens; or none at all
        for (const SamplingParams& params : all_params()) {
            for (const bool constrained : {false, true}) {
                Mask mask(bits), same(bits);
                std::vector<float> copy = logits;
                const TokenId expected = here.sample(copy, params, {}, static_cast<std::uint64_t>(position), false, 0, constrained ? &mask : nullptr).token;
                row.set(logits);
                const TokenId got = there.sample(row, params, static_cast<std::uint64_t>(position), constrained ? &same : nullptr);
                EXPECT_EQ(got, expected) << width << " logits, position " << position << ", temperature " << params.temperature << ", top_k " << params.top_k
                                         << ", top_p " << params.top_p << ", min_p " << params.min_p << (constrained ? ", constrained" : "");
                EXPECT_EQ(same.masks, mask.masks);
                if (::testing::Test::HasFailure()) return row.wholes;
            }
        }
    }
    return row.wholes;
}

void expect_same_tokens(compute::Device& device) {
    EXPECT_EQ(expect_same_tokens(device, 1000, 4, 60), 20 * static_cast<int>(all_params().size()) / 2); // where nothing may come
    EXPECT_LE(expect_same_tokens(device, 49152, 5, 12), 2 * static_cast<int>(all_params().size()) * 2);
    expect_same_tokens(device, 20001, 0.1f, 6); // so flat that a nucleus is larger than what is told
    expect_same_tokens(device, 700, 3, 70, true);
    expect_same_tokens(device, 3, 1, 20);
}

TEST(RemoteRow, GivesTheTokensOfTheRowItself) {
    const auto device = compute::cpu::make_device({.threads = 2, .reference = false});
    expect_same_tokens(*device);
}

TEST(CudaRemoteRow, GivesTheTokensOfTheRowItself) {
    LUCEBOX_NEEDS_GPU_IF(true);
    auto device = compute::make_device({compute::DeviceChoice::cuda, 0, false, 0});
    ASSERT_TRUE(device) << device.error().message;
    ASSERT_TRUE((*device)->prepare(64, 64));
    expect_same_tokens(**device);
    EXPECT_TRUE((*device)->failure());
}

// Trees of two sequences, every row of them, first asked together as the engine does and then one by one.
void expect_same_choices(On on) {
    LUCEBOX_NEEDS_GPU_IF(on == On::cuda);
    Rig rig(model::testing::oracle_path("llama") / "model.gguf", {.context = 128, .sequences = 2, .rows = 64, .kv_type = {}}, on);
    const model::SequenceId a = rig.open(), b = rig.open();
    std::vector<model::Row> rows;
    for (const model::SequenceId sequence : {a, b}) {
        const auto first = static_cast<std::int32_t>(rows.size());
        for (std::int32_t i = 0; i < 12; ++i) rows.push_back({sequence, 3 + i, i == 0 ? -1 : first + (i - 1) / 2, true});
    }
    std::vector<std::uint64_t> bits(compute::mask_words(rig.runner->vocabulary()));
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = 0x8421'1248'0101'8010 >> i % 3;
    for (const SamplingParams& params : all_params()) {
        ASSERT_TRUE(rig.runner->step(rows, model::Commit::later));
        const std::size_t before = rig.runner->rows_fetched();
        if (params.temperature > 0) {
            for (const std::size_t output : {0, 12}) rig.runner->ask(output, query_of(params, rig.runner->vocabulary()));
        }
        std::vector<TokenId> got;
        Sampler sampler;
        for (std::size_t output = 0; output < rows.size(); ++output) {
            Mask mask(bits);
            RunnerRow row(*rig.runner, output);
            got.push_back(sampler.sample(row, params, output, output % 3 == 0 ? nullptr : &mask));
        }
        EXPECT_EQ(rig.runner->rows_fetched(), before); // no row has left the device
        for (std::size_t output = 0; output < rows.size(); ++output) {
            Mask mask(bits);
            const auto row = rig.runner->logits(output);
            std::vector<float> logits(row.begin(), row.end());
            EXPECT_EQ(got[output], sampler.sample(logits, params, {}, output, false, 0, output % 3 == 0 ? nullptr : &mask).token) << output;
        }
        EXPECT_EQ(rig.runner->rows_fetched(), before + rows.size());
    }
}

TEST(RunnerRow, EveryRowOfTreesIsChosenFromAsIfItWereHereAndStaysOnTheDevice) { expect_same_choices(On::cpu); }
TEST(CudaRunnerRow, EveryRowOfTreesIsChosenFromAsIfItWereHereAndStaysOnTheDevice) { expect_same_choices(On::cuda); }

TEST(RemoteRow, IsLeftOnlyByRequestsThatLookAtTheModelsOwnLogits) {
    SamplingParams params;
    params.top_k = 40;
    params.top_p = 0.9f;
    EXPECT_TRUE(leaves_the_row(params));
    for (const auto& change : std::vector<std::function<void(SamplingParams&)>>{
             [](auto& p) { p.repetition_penalty = 1.1f; }, [](auto& p) { p.frequency_penalty = 0.1f; }, [](auto& p) { p.presence_penalty = 0.1f; },
             [](auto& p) { p.logit_bias = {{1, 1.0f}}; }, [](auto& p) { p.top_k = 5000; }}) {
        SamplingParams other = params;
        change(other);
        EXPECT_FALSE(leaves_the_row(other));
    }
}

} // namespace
} // namespace lucebox::decode
