#include "decode/stop_strings.h"

#include <gtest/gtest.h>

namespace lucebox::decode {
namespace {

struct Ending {
    std::string text;
    std::string matched;
    bool operator==(const Ending&) const = default;
};

// Everything that is shown of `text`, given in pieces of `size` bytes.
Ending read_in_pieces(const std::vector<std::string>& stops, std::string_view text, std::size_t size) {
    StopStrings stream(stops);
    Ending ending;
    for (; !text.empty(); text.remove_prefix(std::min(size, text.size()))) {
        auto outcome = stream.push(text.substr(0, size));
        ending.text += outcome.text;
        if (outcome.matched) {
            ending.matched = *outcome.matched;
            return ending;
        }
    }
    ending.text += stream.finish();
    return ending;
}

void expect_ending(const std::vector<std::string>& stops, std::string_view text, const Ending& expected) {
    for (std::size_t size = 1; size <= text.size(); ++size)
        EXPECT_EQ(read_in_pieces(stops, text, size), expected) << "pieces of " << size;
}

TEST(StopStrings, CutsTheTextWhereverTheBordersFall) {
    expect_ending({"STOP"}, "before STOP after", {"before ", "STOP"});
    expect_ending({"\n\n"}, "a\nb\n\nc", {"a\nb", "\n\n"});
    expect_ending({"###"}, "##x####", {"##x", "###"});
}

TEST(StopStrings, FollowsPrefixesThatOverlapThemselves) {
    expect_ending({"aab"}, "xaaaab!", {"xaa", "aab"});
    expect_ending({"abab!"}, "zabababab!", {"zabab", "abab!"});
    expect_ending({"aaa"}, "baaaa", {"b", "aaa"});
}

TEST(StopStrings, TheOneThatIsCompleteFirstWins) {
    expect_ending({"xabc", "ab"}, "1xabc", {"1x", "ab"});
    expect_ending({"c", "abc"}, "1abc", {"1", "abc"}); // complete together: the longer one
    expect_ending({"later", "sooner"}, "sooner or later", {"", "sooner"});
}

TEST(StopStrings, ShowsEverythingWhenNothingMatches) {
    expect_ending({"STOP", "zzz"}, "a ST and STO and zz", {"a ST and STO and zz", ""});
    expect_ending({}, "plain", {"plain", ""});
    expect_ending({"", ""}, "plain", {"plain", ""});
}

TEST(StopStrings, HoldsBackOnlyWhatCouldStillMatch) {
    StopStrings stream({"<end>", "dog"});
    EXPECT_EQ(stream.push("hello <e").text, "hello ");
    EXPECT_EQ(stream.push("x").text, "<ex");
    EXPECT_EQ(stream.push(" do").text, " ");
    EXPECT_EQ(stream.push("do").text, "do");
    EXPECT_EQ(stream.finish(), "do");
    EXPECT_EQ(stream.finish(), "");
}

TEST(StopStrings, NeverCutsACharacter) {
    StopStrings stream({"日本"});
    EXPECT_EQ(stream.push("a日").text, "a");
    EXPECT_EQ(stream.push("曜").text, "日曜");
    const auto outcome = stream.push("日本語");
    EXPECT_EQ(outcome.text, "");
    EXPECT_EQ(outcome.matched, "日本");
}

} // namespace
} // namespace lucebox::decode
