#include "base/file.h"

#include <gtest/gtest.h>

namespace lucebox {
namespace {

std::filesystem::path scratch(const char* name) { return std::filesystem::path(testing::TempDir()) / name; }

TEST(File, missing_file_is_not_found_and_names_the_path) {
    const auto file = File::open("/nonexistent/model.gguf");
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().kind, ErrorKind::not_found);
    EXPECT_NE(file.error().message.find("/nonexistent/model.gguf"), std::string::npos);
}

TEST(File, directory_is_refused) {
    EXPECT_FALSE(File::open("/tmp"));
}

TEST(File, atomic_write_replaces_the_content_and_leaves_no_temporary) {
    const auto path = scratch("lucebox-atomic");
    for (const std::string text : {"first", "second and longer"}) {
        ASSERT_TRUE(write_file_atomically(path, std::as_bytes(std::span(text))));
        const auto read = read_text_file(path);
        ASSERT_TRUE(read);
        EXPECT_EQ(*read, text);
    }
    for (const auto& entry : std::filesystem::directory_iterator(path.parent_path())) {
        EXPECT_EQ(entry.path().string().find("lucebox-atomic.tmp"), std::string::npos);
    }
}

TEST(File, atomic_write_keeps_permissions_and_links) {
    namespace fs = std::filesystem;
    const auto folder = scratch("lucebox-atomic-links");
    fs::remove_all(folder);
    fs::create_directories(folder);
    const auto bytes = [](std::string_view text) { return std::as_bytes(std::span(text)); };
    ASSERT_TRUE(write_file_atomically(folder / "real", bytes("1")));
    fs::permissions(folder / "real", fs::perms::owner_read | fs::perms::owner_write);
    fs::create_symlink("real", folder / "link");
    ASSERT_TRUE(write_file_atomically(folder / "link", bytes("2")));
    EXPECT_TRUE(fs::is_symlink(folder / "link"));
    const auto text = read_text_file(folder / "real");
    ASSERT_TRUE(text);
    EXPECT_EQ(*text, "2");
    ASSERT_TRUE(write_file_atomically(folder / "copy", bytes("3"), folder / "real"));
    for (const char* name : {"real", "copy"}) EXPECT_EQ(fs::status(folder / name).permissions(), fs::perms::owner_read | fs::perms::owner_write) << name;
    fs::remove_all(folder);
}

TEST(File, read_past_the_end_is_an_error_not_a_short_result) {
    const auto path = scratch("lucebox-short");
    const std::string text = "12345";
    ASSERT_TRUE(write_file_atomically(path, std::as_bytes(std::span(text))));
    const auto file = File::open(path);
    ASSERT_TRUE(file);
    std::byte buffer[4];
    EXPECT_TRUE(file->read_at(1, buffer));
    EXPECT_FALSE(file->read_at(2, buffer));
    EXPECT_FALSE(read_text_file(path, 4));
}

TEST(MappedFile, empty_file_maps_to_an_empty_span) {
    const auto path = scratch("lucebox-empty");
    ASSERT_TRUE(write_file_atomically(path, {}));
    const auto file = File::open(path);
    ASSERT_TRUE(file);
    const auto mapped = MappedFile::map(*file);
    ASSERT_TRUE(mapped);
    EXPECT_TRUE(mapped->bytes().empty());
}

} // namespace
} // namespace lucebox
