// Bytes nobody vouches for: each test is one way to hurt a loader that does not look.
#include "gguf/model_file.h"

#include "file_builder.h"
#include "scratch.h"

#include <ctime>

namespace lucebox::gguf {
namespace {

constexpr auto f32 = static_cast<std::uint32_t>(TensorType::f32);
constexpr auto q4_k = static_cast<std::uint32_t>(TensorType::q4_k);
constexpr auto q8_0 = static_cast<std::uint32_t>(TensorType::q8_0);

void expect_refusal(std::string_view bytes, std::string_view says) {
    const Scratch scratch;
    const auto file = ModelFile::open(scratch.write("m.gguf", bytes));
    ASSERT_FALSE(file) << says;
    EXPECT_EQ(file.error().kind, ErrorKind::invalid_data);
    EXPECT_NE(file.error().message.find(says), std::string::npos) << file.error().message;
    EXPECT_NE(file.error().message.find("m.gguf"), std::string::npos) << file.error().message;
}

void expect_refusal(const FileBuilder& builder, std::string_view says) {
    expect_refusal(builder.build(), says);
}

FileBuilder good() {
    FileBuilder builder;
    builder.text("general.architecture", "test").key<std::uint32_t>("test.count", kU32, 2);
    builder.array<float>("test.numbers", kF32, {1, 2}).texts("test.words", {"x", "yz"});
    return builder.tensor("a", {4, 2}, f32, 32).tensor("b", {32}, q8_0, 34);
}

TEST(HostileFile, ThatEndsAtAnyByteIsRefused) {
    const Scratch scratch;
    const std::string bytes = good().build();
    ASSERT_TRUE(ModelFile::open(scratch.write("m.gguf", bytes)));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const auto file = ModelFile::open(scratch.write("m.gguf", bytes.substr(0, size)));
        ASSERT_FALSE(file) << size;
        ASSERT_EQ(file.error().kind, ErrorKind::invalid_data) << size;
    }
}

// Not all of these are wrong, but whatever opens must be safe to read: the sanitizers see every byte.
TEST(HostileFile, WithAnyByteChangedIsRefusedOrSafeToRead) {
    const Scratch scratch;
    const std::string bytes = good().build();
    for (std::size_t i = 0; i < bytes.size() - 66; ++i) { // all but tensor data
        for (const int value : {0, 1, 0x7F, 0x80, 0xFF}) {
            std::string changed = bytes;
            changed[i] = static_cast<char>(value);
            const auto file = ModelFile::open(scratch.write("m.gguf", changed));
            if (!file) continue;
            for (const Tensor& tensor : file->tensors()) {
                unsigned sum = 0;
                for (const std::byte byte : tensor.data)
                    sum += static_cast<unsigned>(byte);
                ASSERT_EQ(tensor.row_bytes() * tensor.rows(), tensor.data.size()) << sum;
            }
        }
    }
}

TEST(HostileFile, WithAnotherMagicOrVersionIsRefused) {
    FileBuilder builder = good();
    builder.magic = 0x46554746;
    expect_refusal(builder, "magic");
    builder = good();
    for (const std::uint32_t version : {0u, 1u, 4u, 0xFFFFFFFFu}) {
        builder.version = version;
        expect_refusal(builder, "version");
    }
    builder.version = 3u << 24;
    expect_refusal(builder, "big-endian");
}

TEST(HostileFile, WithCountsBeyondItsSizeIsRefusedBeforeMemoryIsTaken) {
    for (const std::uint64_t count : {std::uint64_t{1000}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
        FileBuilder keys = good();
        keys.key_count = count;
        expect_refusal(keys, "count of keys");
        FileBuilder tensors = good();
        tensors.tensor_count = count;
        expect_refusal(tensors, "count of tensors");
    }
}

TEST(HostileFile, WithLengthsBeyondItsSizeIsRefused) {
    for (const std::uint64_t length :
         {std::uint64_t{1000}, std::uint64_t{1} << 61, ~std::uint64_t{0} - 7, ~std::uint64_t{0}}) {
        FileBuilder key;
        ++key.key_count;
        key.keys.u64(length).zeros(32);
        expect_refusal(key, "name of key 0");
        FileBuilder text;
        ++text.key_count;
        text.keys.string("k").u32(kString).u64(length).zeros(32);
        expect_refusal(text, "\"k\"");
        for (const std::uint32_t type : {kU8, kU16, kF32, kBool, kString, kU64, kF64}) {
            FileBuilder array;
            ++array.key_count;
            array.keys.string("k").u32(kArray).u32(type).u64(length).zeros(32);
            expect_refusal(array, "\"k\"");
        }
        FileBuilder tensor;
        ++tensor.tensor_count;
        tensor.tensors.u64(length).zeros(32);
        expect_refusal(tensor, "name of tensor 0");
    }
}

TEST(HostileFile, WithUnknownValueTypesIsRefused) {
    FileBuilder scalar;
    scalar.key<std::uint64_t>("k", 13, 0);
    expect_refusal(scalar, "unknown value type 13");
    FileBuilder array;
    ++array.key_count;
    array.keys.string("k").u32(kArray).u32(99).u64(1).zeros(16);
    expect_refusal(array, "unknown value type 99");
    FileBuilder nested;
    ++nested.key_count;
    nested.keys.string("k").u32(kArray).u32(kArray).u64(1).u32(kU8).u64(1).zeros(16);
    expect_refusal(nested, "array of arrays");
}

TEST(HostileFile, WithADuplicateOrEmptyNameIsRefused) {
    expect_refusal(good().text("test.count", "again"), "\"test.count\" occurs twice");
    expect_refusal(good().tensor("a", {1}, f32, 4), "\"a\" occurs twice");
    expect_refusal(good().text("", "x"), "has no name");
    expect_refusal(good().tensor("", {1}, f32, 4), "name of 0 bytes");
    expect_refusal(good().tensor(std::string(256, 'n'), {1}, f32, 4), "name of 256 bytes");
    expect_refusal(good().text(std::string(65536, 'k'), "x"), "name of 65536 bytes");
}

TEST(HostileFile, WithDimensionsThatOverflowIsRefused) {
    constexpr std::uint64_t large = std::uint64_t{1} << 32;
    const auto with = [](std::vector<std::uint64_t> shape, std::uint32_t type = f32) {
        return FileBuilder().describe("t", shape, type, 0).tensor("last", {8}, f32, 32);
    };
    expect_refusal(with({large, large}), "\"t\" are too large");
    expect_refusal(with({large, large, large, large}), "\"t\" are too large");
    expect_refusal(with({~std::uint64_t{0}, 3}), "\"t\" are too large");
    expect_refusal(with({std::uint64_t{1} << 62}), "\"t\" are too large"); // 2^64 bytes
    expect_refusal(with({std::uint64_t{1} << 61}), "\"t\" are too large"); // 2^63 bytes
    expect_refusal(with({std::uint64_t{1} << 60}), "past the end");
    expect_refusal(with({0}), "is 0");
    expect_refusal(with({4, 0, 4}), "is 0");
    expect_refusal(with({1, 1, 1, 1, 1}), "5 dimensions");
    FileBuilder many;
    ++many.tensor_count;
    many.tensors.string("t").u32(0xFFFFFFFFu).zeros(64);
    expect_refusal(many, "4294967295 dimensions");
}

TEST(HostileFile, WithRowsThatAreNotWholeBlocksIsRefused) {
    expect_refusal(FileBuilder().tensor("t", {31, 32}, q8_0, 1054), "whole blocks of Q8_0");
    expect_refusal(FileBuilder().tensor("t", {128, 2}, q4_k, 144), "whole blocks of Q4_K");
}

TEST(HostileFile, WithAnUnknownTensorTypeIsRefusedByItsId) {
    for (const std::uint32_t id : {4u, 5u, 31u, 36u, 42u, 137u, 0xFFFFFFFFu}) {
        expect_refusal(FileBuilder().tensor("t", {256}, id, 256), "unknown type " + std::to_string(id));
    }
}

TEST(HostileFile, WithATensorOutsideItIsRefused) {
    FileBuilder short_by_one = good();
    short_by_one.data_bytes -= 1;
    expect_refusal(short_by_one, "\"b\" reaches past the end");
    for (const std::uint64_t offset : {std::uint64_t{1} << 20, std::uint64_t{1} << 63, ~std::uint64_t{31}}) {
        expect_refusal(good().describe("t", {1}, f32, offset), "\"t\" reaches past the end");
    }
}

TEST(HostileFile, WithAnUnalignedTensorIsRefused) {
    FileBuilder builder = good();
    builder.data_bytes = 256;
    expect_refusal(builder.describe("t", {1}, f32, 132), "offset of tensor \"t\"");
}

TEST(HostileFile, WithOverlappingTensorsIsRefused) {
    FileBuilder same;
    same.describe("t", {8}, f32, 0).describe("u", {8}, f32, 0);
    same.data_bytes = 64;
    expect_refusal(same, "overlap");
    FileBuilder partly;
    partly.describe("u", {1}, f32, 32).describe("t", {9}, f32, 0);
    partly.data_bytes = 64;
    expect_refusal(partly, "overlap");
    FileBuilder touching;
    touching.describe("u", {1}, f32, 32).describe("t", {8}, f32, 0);
    touching.data_bytes = 64;
    const Scratch scratch;
    EXPECT_TRUE(ModelFile::open(scratch.write("m.gguf", touching.build())));
}

TEST(HostileFile, WithAWrongAlignmentIsRefused) {
    for (const std::uint32_t alignment : {0u, 1u, 4u, 33u, 48u, 1u << 21, 0xFFFFFFFFu}) {
        expect_refusal(good().key<std::uint32_t>("general.alignment", kU32, alignment), "general.alignment");
    }
    expect_refusal(good().text("general.alignment", "32"), "general.alignment");
    expect_refusal(good().array<std::uint32_t>("general.alignment", kU32, {32}), "general.alignment");
}

TEST(HostileFile, KeepsControlBytesOutOfTheMessage) {
    const Scratch scratch;
    FileBuilder builder;
    builder.tensor("evil\n\x1b[31mred", {1}, 137, 4);
    const auto file = ModelFile::open(scratch.write("m.gguf", builder.build()));
    ASSERT_FALSE(file);
    for (const char c : file.error().message)
        EXPECT_GE(c, ' ');
}

TEST(HostileFile, OfManyTensorsAndKeysIsReadInTime) {
    const Scratch scratch;
    FileBuilder builder;
    const std::string padding(40, 'n'); // equal beginnings make comparisons slow
    for (int i = 0; i < 60'000; ++i)
        builder.key<std::uint8_t>(padding + std::to_string(i), kU8, 0);
    for (int i = 0; i < 60'000; ++i)
        builder.tensor(padding + std::to_string(i), {}, f32, 4);
    builder.describe(padding + "0", {}, f32, 0); // the flaw comes last
    const auto path = scratch.write("m.gguf", builder.build());
    const std::clock_t start = std::clock(); // processor time: a busy machine is not our fault
    EXPECT_FALSE(ModelFile::open(path));
    EXPECT_LT(std::clock() - start, 2 * CLOCKS_PER_SEC);
}

TEST(HostileFile, OfMoreKeysOrTensorsThanAModelHasIsRefused) {
    FileBuilder keys;
    for (int i = 0; i < 65'537; ++i)
        keys.key<std::uint8_t>(std::to_string(i), kU8, 0);
    expect_refusal(keys, "65537 keys");
    FileBuilder tensors;
    tensors.tensor_count = 262'145;
    tensors.tensors.zeros(24 * 262'145);
    expect_refusal(tensors, "262145 tensors");
}

TEST(HostileFile, ThatIsMissingIsNotFound) {
    const auto file = ModelFile::open("/nonexistent/m.gguf");
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().kind, ErrorKind::not_found);
}

} // namespace
} // namespace lucebox::gguf
