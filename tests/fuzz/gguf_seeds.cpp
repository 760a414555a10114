// Writes the seeds of the gguf and safetensors fuzzers: small files that between them have every field and type.
#include "file_builder.h"
#include "gguf/tensor_type.h"

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace lucebox::gguf {
namespace {

void write(const std::filesystem::path& path, const std::string& bytes) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

FileBuilder all_values() {
    FileBuilder builder;
    builder.text("general.architecture", "test").key<std::uint32_t>("general.alignment", kU32, 32);
    builder.key<std::uint8_t>("u8", kU8, 1).key<std::int8_t>("i8", kI8, -1).key<std::uint16_t>("u16", kU16, 2);
    builder.key<std::int16_t>("i16", kI16, -2).key<std::int32_t>("i32", kI32, -3).key<float>("f32", kF32, 0.5f);
    builder.key<std::uint8_t>("bool", kBool, 1).key<std::uint64_t>("u64", kU64, 4).key<std::int64_t>("i64", kI64, -4);
    builder.key<double>("f64", kF64, 0.25).array<std::uint8_t>("u8s", kU8, {1, 2}).array<std::int8_t>("i8s", kI8, {-1});
    builder.array<std::uint16_t>("u16s", kU16, {1}).array<std::int16_t>("i16s", kI16, {-1});
    builder.array<std::uint32_t>("u32s", kU32, {1}).array<std::int32_t>("i32s", kI32, {-1});
    builder.array<float>("f32s", kF32, {1.0f}).array<std::uint8_t>("bools", kBool, {0, 1});
    builder.array<std::uint64_t>("u64s", kU64, {1}).array<std::int64_t>("i64s", kI64, {-1});
    builder.array<double>("f64s", kF64, {1.0}).texts("texts", {"a", "", "bc"});
    return builder;
}

FileBuilder one_tensor(std::uint32_t id) {
    const BlockFormat& format = block_format(*tensor_type_from_id(id));
    FileBuilder builder;
    return builder.tensor("t.weight", {format.elements, 2}, id, 2 * format.bytes);
}

FileBuilder split_part() {
    FileBuilder builder;
    builder.key<std::uint16_t>("split.no", kU16, 0).key<std::uint16_t>("split.count", kU16, 2);
    return builder.key<std::int32_t>("split.tensors.count", kI32, 1).tensor("a", {1}, 0, 4);
}

void write_gguf(const std::filesystem::path& folder) {
    write(folder / "values.gguf", all_values().build());
    write(folder / "split.gguf", split_part().build());
    FileBuilder shapes;
    shapes.version = 2;
    shapes.tensor("a", {}, 0, 4).tensor("b", {3}, 1, 6).tensor("c", {2, 2, 1, 3}, 24, 12);
    write(folder / "shapes.gguf", shapes.build());
    for (std::uint32_t id = 0; id < 64; ++id) {
        if (tensor_type_from_id(id)) write(folder / ("type" + std::to_string(id) + ".gguf"), one_tensor(id).build());
    }
}

void write_safetensors(const std::filesystem::path& folder) {
    const std::string json =
        R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
        R"("b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},"c":{"dtype":"I64","shape":[0],"data_offsets":[10,10]}} )";
    write(folder / "two.safetensors", Bytes().string(json).zeros(10).text());
    write(folder / "empty.safetensors", Bytes().string("{}").text());
    write(folder / "index.json",
          R"({"metadata":{"total_size":10,"x":[1.5,null,true]},"weight_map":{"a":"m-1.safetensors"}})");
}

} // namespace
} // namespace lucebox::gguf

int main(int count, char** arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: gguf_seeds <folder of corpora>\n");
        return 64;
    }
    const std::filesystem::path folder = arguments[1];
    lucebox::gguf::write_gguf(folder / "gguf");
    lucebox::gguf::write_safetensors(folder / "safetensors");
    return 0;
}
