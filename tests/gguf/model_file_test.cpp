// What ModelFile gives for well-formed files, whole and split.
#include "gguf/model_file.h"

#include "file_builder.h"
#include "scratch.h"

#include <unistd.h>

namespace lucebox::gguf {
namespace {

constexpr auto f32 = static_cast<std::uint32_t>(TensorType::f32);
constexpr auto q8_0 = static_cast<std::uint32_t>(TensorType::q8_0);

ModelFile open_or_fail(const std::filesystem::path& path) {
    auto file = ModelFile::open(path);
    if (!file) ADD_FAILURE() << file.error().message;
    return std::move(*file);
}

TEST(ModelFile, HoldsTensorsWithShapeTypeAndTheirOwnBytes) {
    for (const std::uint32_t version : {2u, 3u}) {
        const Scratch scratch;
        FileBuilder builder;
        builder.version = version;
        builder.text("general.architecture", "test");
        builder.tensor("a.weight", {3, 5}, f32, 60)
            .tensor("b.weight", {64, 2, 3, 2}, q8_0, 816)
            .tensor("c", {}, f32, 4);
        const std::string bytes = builder.build();
        const ModelFile file = open_or_fail(scratch.write("m.gguf", bytes));
        ASSERT_EQ(file.tensors().size(), 3u);
        EXPECT_EQ(file.file_bytes(), bytes.size());
        const Tensor* b = file.find("b.weight");
        ASSERT_NE(b, nullptr);
        EXPECT_EQ(b->type, TensorType::q8_0);
        EXPECT_EQ(b->shape, (Shape{64, 2, 3, 2}));
        EXPECT_EQ(b->rows(), 12u);
        EXPECT_EQ(b->row_bytes(), 68u);
        ASSERT_EQ(b->data.size(), 816u);
        for (std::size_t i = 0; i < 816; ++i)
            ASSERT_EQ(b->data[i], std::byte((64 + i) % 251));
        EXPECT_EQ(file.find("a.weight")->shape, (Shape{3, 5, 1, 1}));
        EXPECT_EQ(file.find("c")->elements(), 1u);
        EXPECT_EQ(file.find("a.weigh"), nullptr);
        EXPECT_EQ(file.find(""), nullptr);
        EXPECT_EQ(file.find("zzz"), nullptr);
    }
}

TEST(ModelFile, HoldsEveryKindOfValueInFileOrder) {
    const Scratch scratch;
    FileBuilder builder;
    builder.key<std::uint8_t>("u8", kU8, 200).key<std::int8_t>("i8", kI8, -100).key<std::uint16_t>("u16", kU16, 60000);
    builder.key<std::int16_t>("i16", kI16, -30000).key<std::uint32_t>("u32", kU32, 4000000000u);
    builder.key<std::int32_t>("i32", kI32, -2000000000)
        .key<float>("f32", kF32, 0.1f)
        .key<std::uint8_t>("bool", kBool, 2);
    builder.text("string", std::string_view("a\0\xff", 3)).key<std::uint64_t>("u64", kU64, ~0ull);
    builder.key<std::int64_t>("i64", kI64, INT64_MIN).key<double>("f64", kF64, 0.1);
    builder.array<std::int32_t>("i32s", kI32, {3, -1}).array<std::uint8_t>("bools", kBool, {1, 0, 7});
    builder.array<float>("f32s", kF32, {0.5f}).texts("strings", {"x", "", "yz"}).array<std::uint32_t>("none", kU32, {});
    builder.array<std::uint64_t>("u64s", kU64, {1, ~0ull}).array<std::int8_t>("i8s", kI8, {-1, 1});
    const ModelFile file = open_or_fail(scratch.write("m.gguf", builder.build()));

    const auto scalar = [&](const char* key) { return std::get<Scalar>(*file.metadata(key)); };
    EXPECT_EQ(scalar("u8"), Scalar(std::uint64_t{200}));
    EXPECT_EQ(scalar("i8"), Scalar(std::int64_t{-100}));
    EXPECT_EQ(scalar("u16"), Scalar(std::uint64_t{60000}));
    EXPECT_EQ(scalar("i16"), Scalar(std::int64_t{-30000}));
    EXPECT_EQ(scalar("u32"), Scalar(std::uint64_t{4000000000}));
    EXPECT_EQ(scalar("i32"), Scalar(std::int64_t{-2000000000}));
    EXPECT_EQ(scalar("f32"), Scalar(static_cast<double>(0.1f)));
    EXPECT_EQ(scalar("bool"), Scalar(true));
    EXPECT_EQ(scalar("string"), Scalar(std::string("a\0\xff", 3)));
    EXPECT_EQ(scalar("u64"), Scalar(~std::uint64_t{0}));
    EXPECT_EQ(scalar("i64"), Scalar(std::int64_t{INT64_MIN}));
    EXPECT_EQ(scalar("f64"), Scalar(0.1));
    const auto array = [&](const char* key) { return std::get<Array>(*file.metadata(key)); };
    EXPECT_EQ(array("i32s"), Array(std::vector<std::int64_t>{3, -1}));
    EXPECT_EQ(array("bools"), Array(std::vector<bool>{true, false, true}));
    EXPECT_EQ(array("f32s"), Array(std::vector<double>{0.5}));
    EXPECT_EQ(array("strings"), Array(std::vector<std::string>{"x", "", "yz"}));
    EXPECT_EQ(array("none"), Array(std::vector<std::uint64_t>{}));
    EXPECT_EQ(array("u64s"), Array(std::vector<std::uint64_t>{1, ~0ull}));
    EXPECT_EQ(array("i8s"), Array(std::vector<std::int64_t>{-1, 1}));
    EXPECT_EQ(file.metadata("absent"), nullptr);
    ASSERT_EQ(file.keys().size(), 19u);
    EXPECT_EQ(file.keys().front(), "u8");
    EXPECT_EQ(file.keys().back(), "i8s");
}

TEST(ModelFile, TypedAccessConvertsWidthsAndNothingElse) {
    const Scratch scratch;
    FileBuilder builder;
    builder.key<std::uint32_t>("u", kU32, 7).key<std::int32_t>("i", kI32, -7).key<float>("f", kF32, 2.5f);
    builder.key<std::uint8_t>("b", kBool, 1).text("s", "text").key<std::uint64_t>("big", kU64, ~0ull);
    builder.array<std::uint8_t>("bs", kBool, {1, 0}).array<std::uint32_t>("us", kU32, {4, 5}).texts("ss", {"p", "q"});
    builder.array<float>("fs", kF32, {1.5f}).array<std::uint64_t>("bigs", kU64, {~0ull}).key<std::int8_t>("p", kI8, 5);
    const ModelFile file = open_or_fail(scratch.write("m.gguf", builder.build()));

    EXPECT_EQ(**file.get_unsigned("u"), 7u);
    EXPECT_EQ(**file.get_unsigned("p"), 5u);
    EXPECT_EQ(**file.get_integer("u"), 7);
    EXPECT_EQ(**file.get_integer("i"), -7);
    EXPECT_EQ(**file.get_number("i"), -7.0);
    EXPECT_EQ(**file.get_number("u"), 7.0);
    EXPECT_EQ(**file.get_number("f"), 2.5);
    EXPECT_EQ(**file.get_bool("b"), true);
    EXPECT_EQ(**file.get_string("s"), "text");
    EXPECT_EQ(**file.get_integers("us"), (std::vector<std::int64_t>{4, 5}));
    EXPECT_EQ(**file.get_integers("bs"), (std::vector<std::int64_t>{1, 0}));
    EXPECT_EQ(**file.get_numbers("us"), (std::vector<double>{4, 5}));
    EXPECT_EQ(**file.get_numbers("fs"), (std::vector<double>{1.5}));
    EXPECT_EQ(*file.get_strings("ss"), (std::vector<std::string>{"p", "q"}));

    const auto absent = file.get_unsigned("absent");
    ASSERT_TRUE(absent);
    EXPECT_FALSE(*absent);
    EXPECT_FALSE(*file.get_numbers("absent"));
    EXPECT_EQ(file.get_strings("absent"), nullptr);

    EXPECT_FALSE(file.get_unsigned("i"));
    EXPECT_FALSE(file.get_unsigned("f"));
    EXPECT_FALSE(file.get_unsigned("b"));
    EXPECT_FALSE(file.get_unsigned("us"));
    EXPECT_FALSE(file.get_integer("big"));
    EXPECT_FALSE(file.get_number("s"));
    EXPECT_FALSE(file.get_bool("u"));
    EXPECT_FALSE(file.get_string("u"));
    EXPECT_FALSE(file.get_integers("u"));
    EXPECT_FALSE(file.get_integers("fs"));
    EXPECT_FALSE(file.get_integers("bigs"));
    EXPECT_FALSE(file.get_numbers("ss"));
    EXPECT_EQ(file.get_strings("us"), nullptr);
    const auto wrong = file.get_unsigned("f");
    EXPECT_EQ(wrong.error().kind, ErrorKind::invalid_data);
    EXPECT_NE(wrong.error().message.find("\"f\""), std::string::npos) << wrong.error().message;
}

TEST(ModelFile, FollowsAnotherAlignment) {
    const Scratch scratch;
    FileBuilder builder;
    builder.alignment = 128;
    builder.key<std::uint32_t>("general.alignment", kU32, 128);
    builder.tensor("a", {1}, f32, 4).tensor("b", {2}, f32, 8);
    const ModelFile file = open_or_fail(scratch.write("m.gguf", builder.build()));
    EXPECT_EQ(file.find("b")->data[0], std::byte{128});
}

TEST(ModelFile, AFileWithoutTensorsIsAModelWithoutTensors) {
    const Scratch scratch;
    FileBuilder builder;
    builder.text("general.architecture", "vocabulary");
    const ModelFile file = open_or_fail(scratch.write("m.gguf", builder.build()));
    EXPECT_TRUE(file.tensors().empty());
    EXPECT_EQ(**file.get_string("general.architecture"), "vocabulary");
}

TEST(ModelFile, StaysValidWhenMoved) {
    const Scratch scratch;
    FileBuilder builder;
    builder.text("k", "v").tensor("x", {1}, f32, 4); // names short enough to live inside their string objects
    ModelFile first = open_or_fail(scratch.write("m.gguf", builder.build()));
    const ModelFile second = std::move(first);
    EXPECT_EQ(second.find("x")->data[3], std::byte{3});
    EXPECT_EQ(**second.get_string("k"), "v");
}

TEST(ModelFile, ReadReportsAFileThatShrankSinceItWasOpened) {
    const Scratch scratch;
    FileBuilder builder;
    builder.tensor("a", {2}, f32, 8).tensor("b", {4}, f32, 16);
    const auto path = scratch.write("m.gguf", builder.build());
    const ModelFile file = open_or_fail(path);
    std::array<std::byte, 4> out{};
    ASSERT_TRUE(file.read(*file.find("b"), 12, out));
    EXPECT_EQ(out[3], std::byte{32 + 15});
    EXPECT_FALSE(file.read(*file.find("b"), 13, out));
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(file.file_bytes() - 1)), 0);
    EXPECT_FALSE(file.read(*file.find("b"), 12, out));
    EXPECT_TRUE(file.read(*file.find("b"), 0, out));
}

// ---- split models

struct Part {
    std::uint16_t no;
    std::uint16_t count;
    std::vector<std::string> tensors;
    std::int32_t total;
};

std::string build_part(const Part& part) {
    FileBuilder builder;
    if (part.no == 0) builder.text("general.architecture", "test");
    builder.key<std::uint16_t>("split.no", kU16, part.no).key<std::uint16_t>("split.count", kU16, part.count);
    builder.key<std::int32_t>("split.tensors.count", kI32, part.total);
    for (const auto& name : part.tensors)
        builder.tensor(name, {2}, f32, 8);
    return builder.build();
}

struct SplitModel : testing::Test {
    Scratch scratch;
    std::filesystem::path first = scratch.write("m-00001-of-00003.gguf", build_part({0, 3, {}, 3}));
    std::filesystem::path second = scratch.write("m-00002-of-00003.gguf", build_part({1, 3, {"a", "b"}, 3}));
    std::filesystem::path third = scratch.write("m-00003-of-00003.gguf", build_part({2, 3, {"c"}, 3}));

    void expect_refusal(const std::filesystem::path& path, std::string_view says,
                        ErrorKind kind = ErrorKind::invalid_data) {
        const auto file = ModelFile::open(path);
        ASSERT_FALSE(file);
        EXPECT_EQ(file.error().kind, kind);
        EXPECT_NE(file.error().message.find(says), std::string::npos) << file.error().message;
    }
};

TEST_F(SplitModel, OpensWholeFromAnyPart) {
    for (const auto& path : {first, second, third}) {
        const ModelFile file = open_or_fail(path);
        EXPECT_EQ(file.tensors().size(), 3u);
        EXPECT_EQ(file.find("b")->data[0], std::byte{32});
        EXPECT_EQ(file.find("c")->data[0], std::byte{0});
        EXPECT_EQ(**file.get_string("general.architecture"), "test");
        EXPECT_EQ(file.file_bytes(), std::filesystem::file_size(first) + std::filesystem::file_size(second) +
                                         std::filesystem::file_size(third));
        std::array<std::byte, 1> out{};
        ASSERT_TRUE(file.read(*file.find("b"), 7, out));
        EXPECT_EQ(out[0], std::byte{39});
    }
}

TEST_F(SplitModel, NamesThePartThatIsMissing) {
    std::filesystem::remove(second);
    expect_refusal(first, "m-00002-of-00003.gguf", ErrorKind::not_found);
    expect_refusal(third, "m-00002-of-00003.gguf", ErrorKind::not_found);
}

TEST_F(SplitModel, RefusesAPartThatIsNotTheOneItsNameSays) {
    std::filesystem::copy_file(third, second, std::filesystem::copy_options::overwrite_existing);
    expect_refusal(first, "split.no");
}

TEST_F(SplitModel, RefusesAPartOfAnotherSplit) {
    scratch.write("m-00003-of-00003.gguf", build_part({2, 4, {"c"}, 3}));
    expect_refusal(first, "split.count");
}

TEST_F(SplitModel, RefusesAPartThatIsNoSplit) {
    scratch.write("m-00003-of-00003.gguf", FileBuilder().tensor("c", {2}, f32, 8).build());
    expect_refusal(first, "split.count");
}

TEST_F(SplitModel, RefusesATensorThatIsInTwoParts) {
    scratch.write("m-00003-of-00003.gguf", build_part({2, 3, {"a"}, 3}));
    expect_refusal(first, "\"a\"");
}

TEST_F(SplitModel, RefusesAnotherTotalThanItsTensors) {
    scratch.write("m-00003-of-00003.gguf", build_part({2, 3, {"c", "d"}, 3}));
    expect_refusal(first, "split.tensors.count");
}

TEST_F(SplitModel, RefusesANameThatDoesNotSayWhichPart) {
    const auto renamed = scratch / "renamed.gguf";
    std::filesystem::copy_file(first, renamed);
    expect_refusal(renamed, "name");
    const auto beyond = scratch / "m-00004-of-00003.gguf";
    std::filesystem::copy_file(first, beyond);
    expect_refusal(beyond, "name");
    const auto zero = scratch / "m-00000-of-00003.gguf";
    std::filesystem::copy_file(first, zero);
    expect_refusal(zero, "name");
}

TEST_F(SplitModel, RefusesAHostilePartAndNamesIt) {
    scratch.write("m-00002-of-00003.gguf", "GGUF");
    expect_refusal(first, "m-00002-of-00003.gguf");
}

} // namespace
} // namespace lucebox::gguf
