// Drafts of a model among files as people and earlier images keep them.
#include "model/draft_files.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <unistd.h>

namespace lucebox::model {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class DraftFiles : public ::testing::Test {
protected:
    fs::path folder = fs::temp_directory_path() / fmt::format("lucebox-drafts-{}-{}", ::getpid(), counter_++);

    DraftFiles() { fs::create_directories(folder / "models"); }
    ~DraftFiles() override {
        std::error_code ignored;
        fs::remove_all(folder, ignored);
    }

    void put(const std::string& name) {
        fs::create_directories((folder / name).parent_path());
        std::ofstream(folder / name) << "x";
    }
    std::vector<std::string> relative(const std::vector<fs::path>& paths) {
        std::vector<std::string> names;
        for (const fs::path& path : paths) names.push_back(path.lexically_relative(folder).string());
        return names;
    }
    std::vector<std::string> found(const std::string& model) {
        const std::vector<fs::path> more{folder / "more"};
        return relative(draft_files(folder / "models" / model, more));
    }

private:
    static inline int counter_ = 0;
};

TEST(DraftName, IsTheModelsWithoutTypeAndPart) {
    EXPECT_EQ(draft_name("a/Name.Q4_1.gguf"), "Name.dflash.gguf");
    EXPECT_EQ(draft_name("Qwen3.6-35B-A3B-UD-Q4_K_M.gguf"), "Qwen3.6-35B-A3B.dflash.gguf");
    EXPECT_EQ(draft_name("Big-Q8_0-00001-of-00003.gguf"), "Big.dflash.gguf");
    EXPECT_EQ(draft_name("Plain.gguf"), "Plain.dflash.gguf");
}

TEST_F(DraftFiles, TheModelsOwnNameComesFirstThenFamilyThenAnyDraft) {
    for (const char* name : {"models/draft/z.gguf", "models/draft/my-DFlash.gguf", "models/draft/dflash-draft-3.5-q4.gguf", "models/draft/deep/er/Qwen-3.6-27b-dflash-q8.gguf",
                             "models/draft/dflash-draft-3.6-q8_0.gguf", "models/draft/dflash-draft-3.6-q4_k_m.gguf", "models/draft/Qwen3.6-27B.q8.gguf",
                             "more/Qwen3.6-27B.dflash.gguf", "models/draft/notes.txt", "models/draft/half.gguf.part"}) put(name);
    EXPECT_THAT(found("Qwen3.6-27B-Q4_K_M.gguf"),
                ElementsAre("more/Qwen3.6-27B.dflash.gguf", "models/draft/Qwen3.6-27B.q8.gguf", "models/draft/dflash-draft-3.6-q4_k_m.gguf",
                            "models/draft/dflash-draft-3.6-q8_0.gguf", "models/draft/deep/er/Qwen-3.6-27b-dflash-q8.gguf", "models/draft/dflash-draft-3.5-q4.gguf",
                            "models/draft/my-DFlash.gguf", "models/draft/z.gguf"));
}

TEST_F(DraftFiles, TheNarrowerFamilyWins) {
    for (const char* name : {"models/draft/a-gemma-4-dflash.gguf", "models/draft/gemma-4-26B-A4B-it-DFlash-q8_0.gguf", "models/draft/gemma-4-31B-it-DFlash-q8_0.gguf"}) put(name);
    EXPECT_EQ(found("google_gemma-4-26B-A4B-it-Q4_K_M.gguf").front(), "models/draft/gemma-4-26B-A4B-it-DFlash-q8_0.gguf");
    EXPECT_EQ(found("google_gemma-4-31B-it-Q4_K_M.gguf").front(), "models/draft/gemma-4-31B-it-DFlash-q8_0.gguf");
    EXPECT_EQ(found("gemma-4-E4B-Q8_0.gguf").front(), "models/draft/a-gemma-4-dflash.gguf");
}

TEST_F(DraftFiles, SafetensorsAreCalledAsTheirFolder) {
    for (const char* name : {"models/draft/laguna-xs2-speculator/model.safetensors", "models/draft/laguna-xs2-speculator/config.json", "models/draft/b/other.safetensors",
                             "models/draft/a/model.safetensors"}) put(name);
    EXPECT_THAT(found("laguna-xs2-Q4_K_M.gguf"), ElementsAre("models/draft/laguna-xs2-speculator/model.safetensors", "models/draft/a/model.safetensors", "models/draft/b/other.safetensors"));
}

TEST_F(DraftFiles, FoldersOfEarlierImagesAreFoldersOfDrafts) {
    for (const char* name : {"models/qwen3.6-27b-dflash/a.gguf", "more/Qwen3.6-27B-DFlash/b.gguf", "models/dflash/c.gguf", "models/other/d.gguf"}) put(name);
    EXPECT_THAT(found("M.gguf"), ElementsAre("models/qwen3.6-27b-dflash/a.gguf", "more/Qwen3.6-27B-DFlash/b.gguf", "models/dflash/c.gguf"));
}

TEST_F(DraftFiles, BesideModelsOnlyWhatIsCalledLikeADraftOfThisOne) {
    for (const char* name : {"models/Other.dflash.gguf", "models/Qwen3.6-9B-Q4_K_M.gguf", "models/dflash-draft-3.6-q4_k_m.gguf", "models/Qwen3-80B-DFlash.gguf", "models/Qwen3-8B-DFlash-q8.gguf"}) put(name);
    EXPECT_THAT(found("Qwen3.6-27B-Q4_K_M.gguf"), ElementsAre("models/dflash-draft-3.6-q4_k_m.gguf"));
    EXPECT_THAT(found("Qwen3-8B-Q4_K_M.gguf"), ElementsAre("models/Qwen3-8B-DFlash-q8.gguf"));
    EXPECT_THAT(found("Nothing.gguf"), IsEmpty());
}

TEST_F(DraftFiles, LinksAreFollowedFourLevelsDownAndNotForEver) {
    put("elsewhere/x.gguf");
    put("models/draft/1/2/3/ok.gguf");
    put("models/draft/1/2/3/4/too-deep.gguf");
    fs::create_directory_symlink(folder / "elsewhere", folder / "models/draft/link");
    fs::create_directory_symlink(folder / "models", folder / "models/draft/link/round");
    const auto names = found("M.gguf");
    EXPECT_THAT(names, ::testing::IsSupersetOf({"models/draft/1/2/3/ok.gguf", "models/draft/link/x.gguf"}));
    EXPECT_THAT(names, ::testing::Not(::testing::Contains("models/draft/1/2/3/4/too-deep.gguf")));
}

TEST_F(DraftFiles, InAFolderThatWasNamedEverythingCounts) {
    for (const char* name : {"mine/q.gguf", "mine/sub/Tiny-DFlash.gguf"}) put(name);
    EXPECT_THAT(relative(draft_files_in(folder / "mine", "Tiny.Q8_0.gguf")), ElementsAre("mine/sub/Tiny-DFlash.gguf", "mine/q.gguf"));
    EXPECT_THAT(draft_files_in(folder / "nowhere", "Tiny.gguf"), IsEmpty());
}

} // namespace
} // namespace lucebox::model
