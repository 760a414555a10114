#include "gguf/quantise_model.h"

#include "gguf/blocks.h"
#include "gguf/writer.h"
#include "scratch.h"

#include <cmath>
#include <random>

namespace lucebox::gguf {
namespace {

using enum TensorType;

std::vector<float> random_values(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 0.05f);
    std::vector<float> values(count);
    for (float& value : values)
        value = normal(random);
    return values;
}

std::vector<float> values_of(const Tensor& tensor) {
    std::vector<float> out(tensor.elements());
    dequantise_row(tensor.type, tensor.data, out);
    return out;
}

double relative_rms(const std::vector<float>& a, const std::vector<float>& b) {
    double error = 0;
    double size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        error += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
        size += std::pow(static_cast<double>(a[i]), 2);
    }
    return std::sqrt(error / size);
}

struct Wanted {
    std::string name;
    Shape shape;
};

const Wanted tensors[] = {
    {"token_embd.weight", {512, 300, 1, 1}},          {"output_norm.weight", {512, 1, 1, 1}},
    {"blk.0.attn_v.weight", {512, 64, 1, 1}},         {"blk.0.attn_norm.weight", {512, 1, 1, 1}},
    {"blk.0.ffn_down_exps.weight", {256, 512, 4, 1}}, {"blk.0.ffn_up.weight", {96, 512, 1, 1}},
};

std::filesystem::path write_model(const Scratch& scratch, TensorType type = f32) {
    ModelWriter writer;
    writer.set("general.architecture", "test");
    writer.set("general.alignment", 32u);
    writer.set("general.file_type", 0u);
    writer.set("test.block_count", 1u);
    writer.set("test.small", std::int16_t{-3});
    writer.set("split.count", std::uint16_t{1});
    for (const Wanted& tensor : tensors)
        EXPECT_TRUE(writer.add_tensor(tensor.name, type, tensor.shape));
    EXPECT_TRUE(writer.begin(scratch / "in.gguf"));
    unsigned seed = 0;
    for (const Wanted& tensor : tensors) {
        const auto values = random_values(tensor.shape[0] * tensor.shape[1] * tensor.shape[2], ++seed);
        std::vector<std::byte> bytes(values.size() / block_format(type).elements * block_format(type).bytes);
        EXPECT_TRUE(quantise_row(type, values, bytes));
        EXPECT_TRUE(writer.write(bytes));
    }
    EXPECT_TRUE(writer.finish());
    return scratch / "in.gguf";
}

ModelFile open_or_fail(const std::filesystem::path& path) {
    auto file = ModelFile::open(path);
    if (!file) ADD_FAILURE() << file.error().message;
    return std::move(*file);
}

TEST(QuantiseModel, ConvertsEachTensorToItsTypeAndCopiesTheRest) {
    const Scratch scratch;
    const ModelFile source = open_or_fail(write_model(scratch));
    ASSERT_TRUE(quantise_model(source, scratch / "out.gguf", {.target = "Q4_K_M"}));
    const ModelFile out = open_or_fail(scratch / "out.gguf");
    const TensorType types[] = {q6_k, f32, q6_k, f32, q6_k, q5_0};
    const double bounds[] = {0.02, 0, 0.02, 0, 0.02, 0.05};
    ASSERT_EQ(out.tensors().size(), 6u);
    for (std::size_t i = 0; i < 6; ++i) {
        const Tensor& before = source.tensors()[i];
        const Tensor& after = out.tensors()[i];
        EXPECT_EQ(after.name, before.name);
        EXPECT_EQ(after.shape, before.shape);
        EXPECT_EQ(after.type, types[i]) << after.name;
        EXPECT_LE(relative_rms(values_of(before), values_of(after)), bounds[i]) << after.name;
    }
    EXPECT_EQ(**out.get_unsigned("general.file_type"), 15u);
    EXPECT_EQ(**out.get_unsigned("general.quantization_version"), 2u);
    EXPECT_EQ(out.metadata("split.count"), nullptr);
    EXPECT_TRUE(std::ranges::equal(out.encoded_metadata("test.small"), source.encoded_metadata("test.small")));
}

// Rows are cut into chunks and handed to threads; the bytes must be those of one row after the other.
TEST(QuantiseModel, GivesTheSameBytesOnAnyNumberOfThreads) {
    const Scratch scratch;
    const ModelFile source = open_or_fail(write_model(scratch));
    const Tensor& embedding = source.tensors()[0];
    std::vector<std::byte> expected(embedding.elements() / 32 * 18);
    ASSERT_TRUE(quantise_row(q4_0, values_of(embedding), expected));
    for (const std::size_t threads : {1u, 3u}) {
        ASSERT_TRUE(quantise_model(source, scratch / "out.gguf", {.target = q4_0, .threads = threads}));
        const ModelFile out = open_or_fail(scratch / "out.gguf");
        EXPECT_TRUE(std::ranges::equal(out.tensors()[0].data, expected));
    }
}

TEST(QuantiseModel, TensorsLargerThanAChunkComeOutWhole) {
    const Scratch scratch;
    const auto values = random_values(5'000'000, 1); // 20 MB in chunks of 16
    {
        ModelWriter writer;
        writer.set("general.architecture", "test");
        ASSERT_TRUE(writer.add_tensor("a.weight", f32, {320, 15'625, 1, 1}));
        ASSERT_TRUE(writer.begin(scratch / "in.gguf"));
        ASSERT_TRUE(writer.write(std::as_bytes(std::span(values))));
        ASSERT_TRUE(writer.finish());
    }
    ASSERT_TRUE(quantise_model(open_or_fail(scratch / "in.gguf"), scratch / "out.gguf", {.target = "Q8_0"}));
    const ModelFile out = open_or_fail(scratch / "out.gguf");
    std::vector<std::byte> expected(values.size() / 32 * 34);
    ASSERT_TRUE(quantise_row(q8_0, values, expected));
    EXPECT_TRUE(std::ranges::equal(out.tensors()[0].data, expected));
}

TEST(QuantiseModel, MayReplaceItsOwnSource) {
    const Scratch scratch;
    const auto path = write_model(scratch);
    const ModelFile source = open_or_fail(path);
    const auto before = values_of(source.tensors()[0]);
    ASSERT_TRUE(quantise_model(source, path, {.target = "Q8_0"}));
    EXPECT_LT(relative_rms(before, values_of(open_or_fail(path).tensors()[0])), 0.006);
}

TEST(QuantiseModel, RefusesToQuantiseTwiceUnlessTold) {
    const Scratch scratch;
    const ModelFile source = open_or_fail(write_model(scratch, q8_0));
    const auto status = quantise_model(source, scratch / "out.gguf", {.target = "Q4_0"});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::usage);
    EXPECT_FALSE(std::filesystem::exists(scratch / "out.gguf"));
    ASSERT_TRUE(quantise_model(source, scratch / "out.gguf", {.target = "Q4_0", .requantise = true}));
    EXPECT_EQ(open_or_fail(scratch / "out.gguf").find("blk.0.attn_v.weight")->type, q4_0);
    ASSERT_TRUE(quantise_model(source, scratch / "same.gguf", {.target = "Q8_0"})); // nothing is lost here
    const ModelFile same = open_or_fail(scratch / "same.gguf");
    EXPECT_TRUE(std::ranges::equal(same.tensors()[0].data, source.tensors()[0].data));
}

TEST(QuantiseModel, NamesTheTensorAndRowOfAValueThatIsNotANumber) {
    const Scratch scratch;
    std::vector<float> values = random_values(256 * 100, 1);
    values[256 * 70 + 9] = NAN;
    values[256 * 90] = NAN;
    ModelWriter writer;
    writer.set("general.architecture", "test");
    ASSERT_TRUE(writer.add_tensor("broken.weight", f32, {256, 100, 1, 1}));
    ASSERT_TRUE(writer.begin(scratch / "in.gguf"));
    ASSERT_TRUE(writer.write(std::as_bytes(std::span(values))));
    ASSERT_TRUE(writer.finish());
    const auto status = quantise_model(open_or_fail(scratch / "in.gguf"), scratch / "out.gguf", {.target = "Q4_K_M"});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::invalid_data);
    EXPECT_NE(status.error().message.find("\"broken.weight\", row 70"), std::string::npos) << status.error().message;
    EXPECT_FALSE(std::filesystem::exists(scratch / "out.gguf"));
}

TEST(QuantiseModel, ReportsEachTensorAndStopsWhenAsked) {
    const Scratch scratch;
    const ModelFile source = open_or_fail(write_model(scratch));
    std::vector<std::string> seen;
    std::uint64_t done = 0;
    QuantiseOptions options;
    options.progress = [&](const QuantiseProgress& progress) {
        seen.emplace_back(progress.tensor);
        EXPECT_EQ(progress.index, seen.size() - 1);
        EXPECT_EQ(progress.count, 6u);
        EXPECT_EQ(progress.done_bytes, done);
        done += source.tensors()[progress.index].data.size();
        return seen.size() < 3;
    };
    const auto status = quantise_model(source, scratch / "out.gguf", options);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::cancelled);
    EXPECT_EQ(seen.size(), 3u);
    std::size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(scratch / ""))
        ++files;
    EXPECT_EQ(files, 1u); // no half-written one
}

TEST(QuantiseModel, RefusesUnknownTargets) {
    const Scratch scratch;
    const ModelFile source = open_or_fail(write_model(scratch));
    const auto name = quantise_model(source, scratch / "out.gguf", {.target = "Q9_X"});
    ASSERT_FALSE(name);
    EXPECT_EQ(name.error().kind, ErrorKind::usage);
    EXPECT_NE(name.error().hint.find("Q4_K_M"), std::string::npos);
    const auto type = quantise_model(source, scratch / "out.gguf", {.target = q2_k});
    ASSERT_FALSE(type);
    EXPECT_EQ(type.error().kind, ErrorKind::unsupported);
}

} // namespace
} // namespace lucebox::gguf
