#include "gguf/writer.h"

#include "file_builder.h"
#include "scratch.h"

#include <array>
#include <csignal>
#include <sys/resource.h>

namespace lucebox::gguf {
namespace {

std::vector<std::byte> numbered(std::size_t count, unsigned start) {
    std::vector<std::byte> out(count);
    for (std::size_t i = 0; i < count; ++i)
        out[i] = std::byte((start + i) % 251);
    return out;
}

std::size_t files_in(const std::filesystem::path& folder) {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder))
        ++count;
    return count;
}

std::string read_all(const std::filesystem::path& path) {
    auto text = read_text_file(path);
    if (!text) ADD_FAILURE() << text.error().message;
    return text ? *text : "";
}

TEST(Writer, WritesByteForByteWhatTheFormatSays) {
    FileBuilder expected;
    expected.text("general.architecture", "test").key<std::uint8_t>("u8", kU8, 1).key<std::int8_t>("i8", kI8, -1);
    expected.key<std::uint16_t>("u16", kU16, 2).key<std::int16_t>("i16", kI16, -2).key<std::uint32_t>("u32", kU32, 3);
    expected.key<std::int32_t>("i32", kI32, -3).key<float>("f32", kF32, 0.5f).key<std::uint8_t>("bool", kBool, 1);
    expected.key<std::uint64_t>("u64", kU64, 4).key<std::int64_t>("i64", kI64, -4).key<double>("f64", kF64, 0.25);
    expected.array<std::int32_t>("i32s", kI32, {1, -2}).array<float>("f32s", kF32, {}).texts("texts", {"a", "", "bcd"});
    expected.tensor("m", {3, 2}, 0, 24).tensor("v", {32}, 8, 34).tensor("cube", {1, 1, 2}, 1, 4);

    const Scratch scratch;
    ModelWriter writer;
    writer.set("general.architecture", "test");
    writer.set("u8", std::uint8_t{1});
    writer.set("i8", std::int8_t{-1});
    writer.set("u16", std::uint16_t{2});
    writer.set("i16", std::int16_t{-2});
    writer.set("u32", 3u);
    writer.set("i32", -3);
    writer.set("f32", 0.5f);
    writer.set("bool", true);
    writer.set("u64", std::uint64_t{4});
    writer.set("i64", std::int64_t{-4});
    writer.set("f64", 0.25);
    const std::array<std::int32_t, 2> integers = {1, -2};
    writer.set("i32s", std::span<const std::int32_t>(integers));
    writer.set("f32s", std::span<const float>());
    const std::vector<std::string> texts = {"a", "", "bcd"};
    writer.set("texts", std::span<const std::string>(texts));
    ASSERT_TRUE(writer.add_tensor("m", TensorType::f32, {3, 2, 1, 1}));
    ASSERT_TRUE(writer.add_tensor("v", TensorType::q8_0, {32, 1, 1, 1}));
    ASSERT_TRUE(writer.add_tensor("cube", TensorType::f16, {1, 1, 2, 1}));
    ASSERT_TRUE(writer.begin(scratch / "m.gguf"));
    EXPECT_FALSE(std::filesystem::exists(scratch / "m.gguf"));
    const auto v = numbered(34, 32);
    ASSERT_TRUE(writer.write(numbered(24, 0)));
    ASSERT_TRUE(writer.write(std::span(v).first(1)));
    ASSERT_TRUE(writer.write(std::span(v).subspan(1)));
    ASSERT_TRUE(writer.write(numbered(4, 96)));
    ASSERT_TRUE(writer.finish());

    std::string bytes = read_all(scratch / "m.gguf");
    std::string wanted = expected.build();
    const std::size_t data = wanted.size() - 100;
    for (std::size_t i = 24; i < 32; ++i)
        wanted[data + i] = 0; // the builder numbers padding too
    for (std::size_t i = 66; i < 96; ++i)
        wanted[data + i] = 0;
    bytes.resize(wanted.size()); // padding after the last tensor may be there
    EXPECT_EQ(bytes, wanted);
    EXPECT_EQ(files_in(scratch / ""), 1u);
}

TEST(Writer, WhatItWritesReadsBackEqual) {
    const Scratch scratch;
    std::vector<std::byte> large = numbered(4 * 700'000, 5); // more than one buffer
    ModelWriter writer;
    writer.set("k", "first");
    writer.set("other", 1u);
    writer.set("k", "second");
    ASSERT_TRUE(writer.add_tensor("a", TensorType::f32, {700, 1000, 1, 1}));
    ASSERT_TRUE(writer.add_tensor("b", TensorType::q4_0, {32, 1, 1, 3}));
    ASSERT_TRUE(writer.begin(scratch / "m.gguf"));
    ASSERT_TRUE(writer.write(large));
    ASSERT_TRUE(writer.write(numbered(54, 9)));
    ASSERT_TRUE(writer.finish());
    const auto file = ModelFile::open(scratch / "m.gguf");
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(**file->get_string("k"), "second");
    EXPECT_EQ(file->keys().front(), "k");
    ASSERT_EQ(file->tensors().size(), 2u);
    EXPECT_TRUE(std::ranges::equal(file->find("a")->data, large));
    EXPECT_TRUE(std::ranges::equal(file->find("b")->data, numbered(54, 9)));
    EXPECT_EQ(file->find("b")->shape, (Shape{32, 1, 1, 3}));
}

TEST(Writer, CopiesMetadataWithoutLosingItsWidth) {
    const Scratch scratch;
    FileBuilder builder;
    builder.key<std::int16_t>("i16", kI16, -5).array<std::uint8_t>("u8s", kU8, {1, 2}).texts("texts", {"x", "yz"});
    const std::string bytes = builder.build();
    const auto source = ModelFile::open(scratch.write("in.gguf", bytes));
    ASSERT_TRUE(source);
    EXPECT_TRUE(source->encoded_metadata("absent").empty());
    ModelWriter writer;
    for (const auto key : source->keys())
        writer.set_encoded(key, source->encoded_metadata(key));
    ASSERT_TRUE(writer.begin(scratch / "out.gguf"));
    ASSERT_TRUE(writer.finish());
    EXPECT_EQ(read_all(scratch / "out.gguf").substr(0, bytes.size()), bytes);
}

TEST(Writer, RefusesTensorsNoReaderWouldTake) {
    ModelWriter writer;
    EXPECT_TRUE(writer.add_tensor("a", TensorType::f32, {1, 1, 1, 1}));
    EXPECT_FALSE(writer.add_tensor("a", TensorType::f32, {1, 1, 1, 1}));
    EXPECT_FALSE(writer.add_tensor("", TensorType::f32, {1, 1, 1, 1}));
    EXPECT_FALSE(writer.add_tensor(std::string(64, 'n'), TensorType::f32, {1, 1, 1, 1}));
    EXPECT_FALSE(writer.add_tensor("b", TensorType::f32, {1, 0, 1, 1}));
    EXPECT_FALSE(writer.add_tensor("c", TensorType::q4_k, {255, 1, 1, 1}));
    EXPECT_FALSE(writer.add_tensor("d", TensorType::f32, {1ull << 40, 1ull << 40, 1, 1}));
}

TEST(Writer, LeavesTheOldFileWhenItDoesNotFinish) {
    const Scratch scratch;
    const auto path = scratch.write("m.gguf", "old");
    {
        ModelWriter abandoned;
        ASSERT_TRUE(abandoned.add_tensor("a", TensorType::f32, {4, 1, 1, 1}));
        ASSERT_TRUE(abandoned.begin(path));
        ASSERT_TRUE(abandoned.write(numbered(8, 0)));
        EXPECT_EQ(files_in(scratch / ""), 2u);
    }
    EXPECT_EQ(files_in(scratch / ""), 1u);
    ModelWriter early;
    ASSERT_TRUE(early.add_tensor("a", TensorType::f32, {4, 1, 1, 1}));
    ASSERT_TRUE(early.begin(path));
    ASSERT_TRUE(early.write(numbered(8, 0)));
    EXPECT_FALSE(early.finish());
    EXPECT_EQ(read_all(path), "old");
    EXPECT_EQ(files_in(scratch / ""), 1u);
}

TEST(Writer, RefusesMoreDataThanItsTensorsHold) {
    const Scratch scratch;
    ModelWriter writer;
    ASSERT_TRUE(writer.add_tensor("a", TensorType::f32, {1, 1, 1, 1}));
    ASSERT_TRUE(writer.begin(scratch / "m.gguf"));
    EXPECT_FALSE(writer.write(numbered(5, 0)));
}

TEST(Writer, ReportsAFolderThatIsNotThere) {
    ModelWriter writer;
    const auto status = writer.begin("/nonexistent/m.gguf");
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::io);
    EXPECT_NE(status.error().message.find("/nonexistent/m.gguf"), std::string::npos);
}

// A limit on the size of files stands in for a full disk: the same calls fail at the same place.
class FileSizeLimit {
public:
    explicit FileSizeLimit(rlim_t bytes) {
        handler_ = std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &before_);
        rlimit now = before_;
        now.rlim_cur = bytes;
        ::setrlimit(RLIMIT_FSIZE, &now);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;
    ~FileSizeLimit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }

private:
    rlimit before_{};
    void (*handler_)(int) = nullptr;
};

TEST(Writer, AFullDiskIsAnErrorAndLeavesNothing) {
    const Scratch scratch;
    const std::vector<std::byte> data = numbered(4u << 20, 0);
    ModelWriter at_start;
    ASSERT_TRUE(at_start.add_tensor("a", TensorType::f32, {1u << 20, 1, 1, 1}));
    {
        const FileSizeLimit limit(1u << 20);
        const auto status = at_start.begin(scratch / "m.gguf");
        const bool failed = !status || !at_start.write(data) || !at_start.finish(); // not all file systems can reserve
        EXPECT_TRUE(failed);
    }
    EXPECT_EQ(files_in(scratch / ""), 0u);

    ModelWriter half_way;
    ASSERT_TRUE(half_way.add_tensor("a", TensorType::f32, {1u << 20, 1, 1, 1}));
    ASSERT_TRUE(half_way.begin(scratch / "m.gguf"));
    {
        const FileSizeLimit limit(1u << 20);
        const auto status = half_way.write(data);
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().kind, ErrorKind::io);
        EXPECT_FALSE(half_way.finish());
    }
    EXPECT_EQ(files_in(scratch / ""), 0u);
}

} // namespace
} // namespace lucebox::gguf
