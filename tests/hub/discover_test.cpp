// A model that nobody named, found in folders as people keep them.
#include "hub/discover.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <unistd.h>

namespace lucebox::hub {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Discover : public ::testing::Test {
protected:
    fs::path folder = fs::temp_directory_path() / fmt::format("lucebox-discover-{}-{}", ::getpid(), counter_++);

    Discover() { fs::create_directories(folder); }
    ~Discover() override {
        std::error_code ignored;
        fs::remove_all(folder, ignored);
    }

    fs::path put(const std::string& name, std::uint64_t bytes = 4) {
        const fs::path path = folder / name;
        fs::create_directories(path.parent_path());
        std::ofstream(path) << "GGUF";
        fs::resize_file(path, bytes); // holes take no room
        return path;
    }
    std::optional<fs::path> found() {
        auto result = discover_model({&folder, 1}, "default.gguf");
        EXPECT_TRUE(result) << result.error().message;
        return result ? *result : std::nullopt;
    }

private:
    static inline int counter_ = 0;
};

TEST_F(Discover, TheOnlyOneIsTakenWhereverItLies) {
    EXPECT_EQ(found(), std::nullopt);
    const fs::path path = put("a/b/c/mine.gguf");
    EXPECT_EQ(found(), path);
    put("a/b/c/d/deeper.gguf");
    EXPECT_EQ(found(), path);
}

TEST_F(Discover, DraftsProjectorsPartsAndHalfFilesAreNoModels) {
    const fs::path first = put("big-00001-of-00003.gguf");
    for (const char* other : {"big-00002-of-00003.gguf", "big-00003-of-00003.gguf", "draft/d.gguf", "x.dflash.gguf", "dflash-draft-3.6-q4_k_m.gguf", "mmproj-f16.gguf", "y.gguf.part", "notes.txt"}) put(other);
    EXPECT_EQ(found(), first);
}

TEST_F(Discover, LinksAreFollowed) {
    const fs::path elsewhere = put("draft/real.gguf"); // not looked into by itself
    fs::create_symlink(elsewhere, folder / "link.gguf");
    EXPECT_EQ(found(), folder / "link.gguf");
}

TEST_F(Discover, TheOnlyLargeOneWinsThenTheDefault) {
    const fs::path preferred = put("default.gguf");
    put("another.gguf");
    EXPECT_EQ(found(), preferred);
    const fs::path large = put("large.gguf", (std::uint64_t{5} << 30) + 1);
    EXPECT_EQ(found(), large);
}

TEST_F(Discover, SeveralAreListedWithTheWayOut) {
    put("default.gguf");
    for (int i = 0; i < 9; ++i) put(fmt::format("large{}.gguf", i), (std::uint64_t{5} << 30) + 1);
    const auto refused = discover_model({&folder, 1}, "default.gguf");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::usage);
    EXPECT_THAT(refused.error().message, HasSubstr("there are 10 models"));
    EXPECT_THAT(refused.error().message, HasSubstr((folder / "large0.gguf").string()));
    EXPECT_THAT(refused.error().message, HasSubstr("and 2 more"));
    EXPECT_THAT(refused.error().hint, HasSubstr("DFLASH_TARGET"));
}

} // namespace
} // namespace lucebox::hub
