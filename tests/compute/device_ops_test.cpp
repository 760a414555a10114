// The small operations of a device against their formulas in double, for both sets of kernels, over many shapes.
#include "device_rig.h"

namespace lucebox::compute::testing {
namespace {

class DeviceOps : public ::testing::TestWithParam<bool> {
protected:
    DeviceRig rig{GetParam()};

    void begin(const StepPlan& plan) { rig.device->begin_step(plan); }
};

constexpr std::size_t widths[] = {1, 15, 16, 31, 64, 100, 257, 576, 1024};
constexpr std::size_t row_counts[] = {1, 2, 5, 33};

StepPlan plan_of(std::size_t rows) {
    StepPlan plan;
    add_sequence(plan, 0, 0, static_cast<std::int32_t>(rows), true);
    return plan;
}

TEST_P(DeviceOps, RmsNorm) {
    for (const std::size_t width : widths) {
        for (const std::size_t rows : row_counts) {
            const StepPlan plan = plan_of(rows);
            begin(plan);
            const auto& tensor = rig.tensor(width, 1);
            const Vector weight = rig.vector(tensor);
            Values x = rig.values(rows, width), out(rows, width), residual = rig.values(rows, width);
            const Values x_before = x, residual_before = residual;
            rig.device->rms_norm(x.tensor(), weight, 1e-5f, out.tensor());
            rig.device->add_rms_norm(x.tensor(), weight, 1e-5f, residual.tensor());
            for (std::size_t row = 0; row < rows; ++row) {
                double sum = 0;
                for (std::size_t i = 0; i < width; ++i) sum += double{x_before(row, i)} * x_before(row, i);
                const double factor = 1 / std::sqrt(sum / static_cast<double>(width) + 1e-5);
                for (std::size_t i = 0; i < width; ++i) {
                    const double expected = x_before(row, i) * factor * rig.floats(tensor)[i];
                    ASSERT_NEAR(out(row, i), expected, 1e-5 * (1 + std::abs(expected))) << width << " wide, row " << row;
                    ASSERT_NEAR(residual(row, i), residual_before(row, i) + expected, 1e-5 * (1 + std::abs(expected)));
                }
            }
            rig.device->end_step();
        }
    }
}

TEST_P(DeviceOps, EmbedAndGather) {
    for (const std::size_t width : widths) {
        const auto& tensor = rig.tensor(width, 50);
        const auto table = rig.matrix(tensor);
        StepPlan plan = plan_of(20);
        for (PlanRow& row : plan.rows) row.token = static_cast<std::int32_t>(rig.random() % 50);
        plan.rows[3].token = 49;
        plan.outputs = {0, 7, 19};
        begin(plan);
        Values x(20, width), out(3, width);
        rig.device->embed(*table, 2.5f, x.tensor());
        rig.device->gather_outputs(x.tensor(), out.tensor());
        for (std::size_t row = 0; row < 20; ++row) {
            const auto token = static_cast<std::size_t>(plan.rows[row].token);
            for (std::size_t i = 0; i < width; ++i) ASSERT_EQ(x(row, i), 2.5f * rig.floats(tensor)[token * width + i]);
        }
        for (std::size_t i = 0; i < 3; ++i) {
            for (std::size_t j = 0; j < width; ++j) ASSERT_EQ(out(i, j), x(static_cast<std::size_t>(plan.outputs[i]), j));
        }
        rig.device->end_step();
    }
}

double dot(std::span<const float> weights, std::size_t output, const Values& x, std::size_t row) {
    double sum = 0;
    for (std::size_t i = 0; i < x.width; ++i) sum += double{weights[output * x.width + i]} * x(row, i);
    return sum;
}

TEST_P(DeviceOps, ProjectionsWithBiasAndAccumulation) {
    for (const std::size_t width : widths) {
        for (const std::size_t rows : row_counts) {
            const auto &wa = rig.tensor(width, 70, 0.1f), &wb = rig.tensor(width, 1, 0.1f), &wc = rig.tensor(width, 33, 0.1f);
            const auto a = rig.matrix(wa), b = rig.matrix(wb), c = rig.matrix(wc);
            const auto& bias_tensor = rig.tensor(70, 1);
            const Vector bias = rig.vector(bias_tensor);
            ASSERT_TRUE(rig.device->prepare(rows, 16));
            const StepPlan plan = plan_of(rows);
            begin(plan);
            Values x = rig.values(rows, width), ya(rows, 70), yb = rig.values(rows, 1), yc = rig.values(rows, 33);
            const Values yc_before = yc;
            const Projection projections[] = {{a.get(), &bias, ya.tensor(), false},
                                              {b.get(), nullptr, yb.tensor(), false},
                                              {c.get(), nullptr, yc.tensor(), true}};
            rig.device->project(x.tensor(), projections);
            const double tolerance = 1e-5 * std::sqrt(static_cast<double>(width)) + 1e-5;
            for (std::size_t row = 0; row < rows; ++row) {
                for (std::size_t o = 0; o < 70; ++o) {
                    ASSERT_NEAR(ya(row, o), dot(rig.floats(wa), o, x, row) + rig.floats(bias_tensor)[o], tolerance);
                }
                ASSERT_NEAR(yb(row, 0), dot(rig.floats(wb), 0, x, row), tolerance);
                for (std::size_t o = 0; o < 33; ++o) {
                    ASSERT_NEAR(yc(row, o), yc_before(row, o) + dot(rig.floats(wc), o, x, row), tolerance);
                }
            }
            rig.device->end_step();
        }
    }
}

TEST_P(DeviceOps, GatedProjection) {
    for (const Activation activation : {Activation::silu, Activation::gelu_tanh}) {
        for (const std::size_t width : widths) {
            for (const std::size_t rows : row_counts) {
                for (const std::size_t outputs : {std::size_t{1}, std::size_t{65}, std::size_t{200}}) {
                    const auto &wg = rig.tensor(width, outputs, 0.3f), &wu = rig.tensor(width, outputs, 0.3f);
                    const auto gate = rig.matrix(wg), up = rig.matrix(wu);
                    ASSERT_TRUE(rig.device->prepare(rows, 16));
                    const StepPlan plan = plan_of(rows);
                    begin(plan);
                    Values x = rig.values(rows, width), out(rows, outputs);
                    rig.device->gated_project(x.tensor(), *gate, *up, activation, out.tensor());
                    for (std::size_t row = 0; row < rows; ++row) {
                        for (std::size_t o = 0; o < outputs; ++o) {
                            const double g = dot(rig.floats(wg), o, x, row), u = dot(rig.floats(wu), o, x, row);
                            const double activated =
                                activation == Activation::silu
                                    ? g * sigmoid(g)
                                    : 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
                            const double expected = activated * u;
                            ASSERT_NEAR(out(row, o), expected, 1e-4 * (1 + std::abs(u) + std::abs(expected)))
                                << width << " to " << outputs << ", row " << row << " of " << rows;
                        }
                    }
                    rig.device->end_step();
                }
            }
        }
    }
}

TEST_P(DeviceOps, CopiesMayOverlap) {
    std::byte* memory = rig.memory(256);
    std::vector<std::byte> bytes(256);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
    rig.device->upload(memory, bytes);
    rig.device->copy(memory + 10, memory, 200);
    std::vector<std::byte> back(256);
    rig.device->download(back, memory);
    for (std::size_t i = 0; i < 200; ++i) ASSERT_EQ(back[i + 10], bytes[i]);
    rig.device->zero(memory + 5, 3);
    rig.device->download(back, memory);
    EXPECT_EQ(back[4], bytes[4]);
    for (std::size_t i = 5; i < 8; ++i) EXPECT_EQ(back[i], std::byte{0});
    EXPECT_EQ(back[8], bytes[8]);
}

TEST_P(DeviceOps, TypesThatCannotBeMultipliedAreRefusedByName) {
    std::vector<std::byte> bytes(4096);
    const gguf::Tensor tensor{"blk.0.odd", gguf::TensorType::i32, {32, 4, 1, 1}, std::span(bytes).first(512)};
    for (const ErrorKind kind : {rig.device->load_matrix(tensor).error().kind, rig.device->load_vector(tensor).error().kind}) {
        EXPECT_EQ(kind, ErrorKind::unsupported);
    }
    EXPECT_NE(rig.device->load_matrix(tensor).error().message.find("blk.0.odd"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Kernels, DeviceOps, ::testing::Bool(),
                         [](const auto& instance) { return instance.param ? "reference" : "fast"; });

} // namespace
} // namespace lucebox::compute::testing
