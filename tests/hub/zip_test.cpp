#include "hub/zip.h"

#include "zip_builder.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <unistd.h>

namespace lucebox::hub {
namespace {

using testing::HasSubstr;

std::string noise(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::string text(size, '\0');
    for (char& c : text)
        c = static_cast<char>(random() % 7); // compresses, but not to nothing
    return text;
}

Result<std::string> extract(const std::string& archive, std::string_view member) {
    const auto path = std::filesystem::path(testing::TempDir()) / fmt::format("lucebox-zip-{}.zip", getpid());
    EXPECT_TRUE(write_file_atomically(path, std::as_bytes(std::span(archive))));
    LUCEBOX_TRY(const File file, File::open(path));
    std::string content;
    const ByteSink sink = [&](std::span<const std::byte> bytes) -> Status {
        content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return Ok{};
    };
    LUCEBOX_CHECK(extract_zip_member(file, member, sink));
    return content;
}

TEST(Zip, stored_and_deflated_members_come_out_whole) {
    const std::string large = noise(3000000, 1), small = noise(1000, 2);
    const std::string archive = ZipBuilder()
                                    .add("a/first.txt", small, false)
                                    .add("model.gguf", large)
                                    .add("empty", "", false)
                                    .add("none", "")
                                    .build();
    EXPECT_EQ(*extract(archive, "a/first.txt"), small);
    EXPECT_EQ(*extract(archive, "model.gguf"), large);
    EXPECT_EQ(*extract(archive, "empty"), "");
    EXPECT_EQ(*extract(archive, "none"), "");
    EXPECT_EQ(extract(archive, "model").error().kind, ErrorKind::not_found);
}

TEST(Zip, comment_that_looks_like_a_directory_is_no_directory) {
    const std::string archive = ZipBuilder().add("m", "content").build("PK\x05\x06" + std::string(30, '\xff'));
    EXPECT_EQ(*extract(archive, "m"), "content");
}

TEST(Zip, changed_content_is_caught_by_its_checksum) {
    std::string archive = ZipBuilder().add("m", "unchanged content", false).build();
    archive[archive.find("unchanged")] = 'U';
    EXPECT_THAT(extract(archive, "m").error().message, HasSubstr("checksum"));
}

TEST(Zip, every_truncation_is_an_error) {
    const std::string archive = ZipBuilder().add("m", noise(2000, 3)).build();
    for (std::size_t size = 0; size < archive.size(); ++size) {
        EXPECT_FALSE(extract(archive.substr(0, size), "m")) << size;
    }
}

TEST(Zip, every_changed_byte_gives_the_same_content_or_an_error) {
    const std::string content = noise(400, 4);
    const std::string archive = ZipBuilder().add("m", content).build();
    for (std::size_t at = 0; at < archive.size(); ++at) {
        for (const int change : {0x01, 0x80, 0xff}) {
            std::string changed = archive;
            changed[at] = static_cast<char>(changed[at] ^ change);
            const auto result = extract(changed, "m");
            EXPECT_TRUE(!result || *result == content) << at;
        }
    }
}

TEST(Zip, error_of_the_sink_is_passed_on) {
    const auto path = std::filesystem::path(testing::TempDir()) / fmt::format("lucebox-zip-{}.zip", getpid());
    const std::string archive = ZipBuilder().add("m", "content").build();
    ASSERT_TRUE(write_file_atomically(path, std::as_bytes(std::span(archive))));
    const auto file = File::open(path);
    const auto result = extract_zip_member(*file, "m", [](auto) -> Status {
        return Error{ErrorKind::io, "disk is full"};
    });
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, "disk is full");
}

} // namespace
} // namespace lucebox::hub
