#include "gguf/safetensors.h"

#include "file_builder.h"
#include "scratch.h"

#include <array>
#include <ctime>
#include <fmt/format.h>

namespace lucebox::gguf {
namespace {

std::string with_header(std::string_view json, std::string_view data = "") {
    Bytes out;
    out.string(json);
    out.text() += data;
    return out.text();
}

const std::string two_tensors =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},)"
    R"("a.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}   )";
const std::string two_data("\0\0\x80\x3f\0\0\0\xc0\x80\x3f\0\xc1", 12); // 1 -2; 1 -8

Safetensors open_or_fail(const std::filesystem::path& path) {
    auto file = Safetensors::open(path);
    if (!file) ADD_FAILURE() << file.error().message;
    return std::move(*file);
}

void expect_refusal(const std::filesystem::path& path, std::string_view says) {
    const auto file = Safetensors::open(path);
    ASSERT_FALSE(file) << says;
    EXPECT_EQ(file.error().kind, ErrorKind::invalid_data);
    EXPECT_NE(file.error().message.find(says), std::string::npos) << file.error().message;
}

void expect_header_refusal(std::string_view json, std::string_view says, std::string_view data = "") {
    const Scratch scratch;
    expect_refusal(scratch.write("m.safetensors", with_header(json, data)), says);
}

TEST(Safetensors, HoldsTensorsByNameWithTypeShapeAndBytes) {
    const Scratch scratch;
    const auto file = open_or_fail(scratch.write("m.safetensors", with_header(two_tensors, two_data)));
    ASSERT_EQ(file.tensors().size(), 2u);
    const StoredTensor* a = file.find("a.weight");
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(a->type, StoredType::f32);
    EXPECT_EQ(a->shape, (std::vector<std::uint64_t>{1, 2}));
    EXPECT_EQ(a->elements(), 2u);
    std::array<float, 2> values{};
    ASSERT_TRUE(read_f32(*a, 0, values));
    EXPECT_EQ(values, (std::array<float, 2>{1, -2}));
    ASSERT_TRUE(read_f32(*file.find("b"), 1, std::span(values).first(1)));
    EXPECT_EQ(values[0], -8.0f);
    EXPECT_EQ(file.find("c"), nullptr);
    EXPECT_EQ(*file.metadata("format"), "pt");
    EXPECT_EQ(file.metadata("other"), nullptr);
}

TEST(Safetensors, ReadsScalarsAndEmptyTensorsAndEveryFloat) {
    const Scratch scratch;
    const double value = -0.375;
    std::string data(reinterpret_cast<const char*>(&value), 8);
    data += std::string("\0\x3c", 2) + "i";
    const auto file = open_or_fail(scratch.write(
        "m.safetensors",
        with_header(
            R"({"d":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"h":{"dtype":"F16","shape":[1],"data_offsets":[8,10]},
                        "none":{"dtype":"I64","shape":[0,5],"data_offsets":[10,10]},"i":{"dtype":"I8","shape":[1],"data_offsets":[10,11]}})",
            data)));
    std::array<float, 1> out{};
    ASSERT_TRUE(read_f32(*file.find("d"), 0, out));
    EXPECT_EQ(out[0], -0.375f);
    ASSERT_TRUE(read_f32(*file.find("h"), 0, out));
    EXPECT_EQ(out[0], 1.0f);
    EXPECT_EQ(file.find("none")->elements(), 0u);
    const auto integer = read_f32(*file.find("i"), 0, out);
    ASSERT_FALSE(integer);
    EXPECT_EQ(integer.error().kind, ErrorKind::unsupported);
    EXPECT_FALSE(read_f32(*file.find("d"), 1, out));
    EXPECT_FALSE(read_f32(*file.find("d"), ~0ull, out));
}

TEST(Safetensors, ThatEndsAtAnyByteIsRefused) {
    const Scratch scratch;
    const std::string bytes = with_header(two_tensors, two_data);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const auto file = Safetensors::open(scratch.write("m.safetensors", bytes.substr(0, size)));
        ASSERT_FALSE(file) << size;
        ASSERT_EQ(file.error().kind, ErrorKind::invalid_data) << size;
    }
    expect_refusal(scratch.write("m.safetensors", bytes + "x"), "belong to no tensor");
}

TEST(Safetensors, WithAnyByteChangedIsRefusedOrSafeToRead) {
    const Scratch scratch;
    const std::string bytes = with_header(two_tensors, two_data);
    for (std::size_t i = 0; i < bytes.size() - two_data.size(); ++i) {
        for (const int value : {0x00, 0x01, 0x22, 0x7D, 0x39, 0x7F, 0xFF}) {
            std::string changed = bytes;
            changed[i] = static_cast<char>(value);
            const auto file = Safetensors::open(scratch.write("m.safetensors", changed));
            if (!file) continue;
            for (const StoredTensor& tensor : file->tensors()) {
                std::vector<float> out(tensor.elements());
                (void)read_f32(tensor, 0, out);
            }
        }
    }
}

TEST(Safetensors, RefusesAHeaderOfAnotherForm) {
    expect_header_refusal("", "not valid JSON");
    expect_header_refusal("[]", "an array where none belongs");
    expect_header_refusal("7", "a number");
    expect_header_refusal("{}x", "not valid JSON");
    expect_header_refusal(R"({"a":7})", "a number");
    expect_header_refusal(R"({"a":{"dtype":7}})", "a number");
    expect_header_refusal(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", "an array");
    expect_header_refusal(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "a negative number");
    expect_header_refusal(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "a fraction");
    expect_header_refusal(R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", "a string");
    expect_header_refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "the end of an array");
    expect_header_refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", "a number");
    expect_header_refusal(R"({"a":{"dtype":"F32","shape":[1]}})", "lacks its data_offsets");
    expect_header_refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", "unknown field \"x\"");
    expect_header_refusal(R"({"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}})", "unknown dtype \"Q4\"");
    expect_header_refusal(R"({"__metadata__":{"a":1}})", "in __metadata__");
    expect_header_refusal(R"({"__metadata__":{"a":{}}})", "in __metadata__");
    expect_header_refusal(R"({"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", "no name");
}

TEST(Safetensors, RefusesDuplicates) {
    const std::string empty = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    expect_header_refusal(R"({"a":)" + empty + R"(,"b":)" + empty + R"(,"a":)" + empty + "}", "\"a\" occurs twice");
    expect_header_refusal(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                          "dtype of tensor \"a\"");
    expect_header_refusal(R"({"__metadata__":{},"__metadata__":{}})", "twice");
    expect_header_refusal(R"({"__metadata__":{"k":"1","k":"2"}})", "\"k\" occurs twice");
}

TEST(Safetensors, RefusesRangesThatDoNotFit) {
    const auto one = [](std::string_view shape, std::string_view offsets) {
        return fmt::format(R"({{"a":{{"dtype":"F32","shape":{},"data_offsets":{}}}}})", shape, offsets);
    };
    expect_header_refusal(one("[1]", "[0,4]"), "past the end");
    expect_header_refusal(one("[2]", "[0,4]"), "do not span the 8 bytes", "1234");
    expect_header_refusal(one("[1]", "[4,0]"), "do not span", "1234");
    expect_header_refusal(one("[1]", "[4,8]"), "does not begin", "12345678");
    expect_header_refusal(one("[1]", "[18446744073709551612,18446744073709551615]"), "do not span", "1234");
    expect_header_refusal(one("[4294967296,4294967296]", "[0,0]"), "too large");
    expect_header_refusal(one("[18446744073709551616]", "[0,0]"), "a fraction"); // beyond 64 bits
    expect_header_refusal(
        R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
        "\"b\" does not begin", "1234");
}

TEST(Safetensors, AHostileHeaderCostsNoMoreThanReadingIt) {
    const Scratch scratch;
    const std::clock_t start = std::clock();
    expect_refusal(scratch.write("deep.safetensors", with_header(std::string(20u << 20, '['))), "an array");
    expect_refusal(scratch.write("deeper.safetensors", with_header("{\"__metadata__\":" + std::string(20u << 20, '{'))),
                   "");
    Bytes huge;
    huge.u64(~0ull).zeros(100);
    expect_refusal(scratch.write("huge.safetensors", huge.text()), "length");
    std::string json = "{";
    for (int i = 0; i < 70'000; ++i)
        json += fmt::format(R"("{:050}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},)", i);
    json.back() = '}';
    EXPECT_EQ(open_or_fail(scratch.write("many.safetensors", with_header(json))).tensors().size(), 70'000u);
    EXPECT_LT(std::clock() - start, 4 * CLOCKS_PER_SEC);
}

struct ShardedSafetensors : testing::Test {
    Scratch scratch;
    ShardedSafetensors() {
        scratch.write("s-1.safetensors", with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
        scratch.write("s-2.safetensors", with_header(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "y"));
    }
    std::filesystem::path index(std::string_view json) const {
        return scratch.write("model.safetensors.index.json", json);
    }
};

TEST_F(ShardedSafetensors, OpenAsOneFromIndexOrFolder) {
    const auto path = index(
        R"({"metadata":{"total_size":2,"x":[1,{"y":null}]},"weight_map":{"b":"s-2.safetensors","a":"s-1.safetensors"}})");
    for (const auto& given : {path, path.parent_path()}) {
        const auto file = open_or_fail(given);
        ASSERT_EQ(file.tensors().size(), 2u);
        EXPECT_EQ(file.find("a")->data[0], std::byte{'x'});
        EXPECT_EQ(file.find("b")->data[0], std::byte{'y'});
    }
}

TEST_F(ShardedSafetensors, AFolderMayHoldASingleFile) {
    scratch.write("model.safetensors", with_header(R"({"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "z"));
    EXPECT_NE(open_or_fail(scratch / "").find("c"), nullptr);
}

TEST_F(ShardedSafetensors, NameAMissingShard) {
    const auto file = Safetensors::open(index(R"({"weight_map":{"a":"s-3.safetensors"}})"));
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().kind, ErrorKind::not_found);
    EXPECT_NE(file.error().message.find("s-3.safetensors"), std::string::npos);
}

TEST_F(ShardedSafetensors, RefuseAnIndexThatLeadsElsewhere) {
    expect_refusal(index(R"({"weight_map":{"a":"../s-1.safetensors"}})"), "names the file");
    expect_refusal(index(R"({"weight_map":{"a":"/etc/passwd"}})"), "names the file");
    expect_refusal(index(R"({"weight_map":{"a":"config.json"}})"), "names the file");
    expect_refusal(index(R"({"weight_map":{"a":"\u001b[31m.safetensors"}})"), "names the file");
    expect_refusal(index(R"({"weight_map":{"b":"s-1.safetensors"}})"), "\"b\" is not in");
    expect_refusal(index(R"({"weight_map":{"a":"s-1.safetensors","a":"s-2.safetensors"}})"), "\"a\" occurs twice");
    expect_refusal(index(R"({"weight_map":{},"weight_map":{}})"), "twice");
    expect_refusal(index(R"({"weight_map":[]})"), "an array");
    expect_refusal(index(R"({"weight_map":{"a":{}}})"), "an object");
    expect_refusal(index(R"({"weight_map":{"a":1}})"), "a number");
    expect_refusal(index(R"({})"), "no weight_map");
    expect_refusal(index(R"([])"), "an array");
    expect_refusal(index(std::string(1u << 20, '[')), "an array");
    expect_refusal(index(R"({"x":)" + std::string(1u << 20, '[')), "not valid JSON");
}

} // namespace
} // namespace lucebox::gguf
