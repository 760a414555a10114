// Where a prompt is cut and gone on from, on a device that computes long pieces in an arithmetic of their own: whatever is
// reused, every token has the arithmetic that it has when the prompt is read anew.
#include "engine/prompt_cut.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace lucebox::engine {
namespace {

struct Reading {
    std::string forms; // of the tokens: L in a long piece, s in a short one
    std::size_t kept = 0;
};

// Behind `begin` tokens that are kept; alone, or now and then beside others.
Reading read(const PromptCut& cut, std::size_t begin, std::size_t prompt, std::size_t most_rows, std::mt19937* others = nullptr) {
    Reading reading{std::string(begin, 'L'), begin};
    for (std::size_t fed = begin; fed < prompt;) {
        const bool beside = others && (*others)() % 2 == 0, is_long = cut.is_long_at(fed, prompt);
        const std::size_t room = is_long ? most_rows : beside ? 1 + (*others)() % PromptCut::most_short : PromptCut::most_short;
        const std::size_t rows = cut.piece(fed, prompt, room, beside);
        EXPECT_TRUE(rows > 0 && rows <= room);
        if (rows == 0) break;
        EXPECT_EQ(PromptCut::is_long(rows), is_long);
        EXPECT_TRUE(!beside || rows <= PromptCut::most_beside);
        EXPECT_TRUE(!is_long || fed % 64 == 0); // chunks lie at multiples of 64
        if (reading.kept == fed && cut.is_kept(fed, rows)) reading.kept += rows;
        reading.forms += std::string(rows, is_long ? 'L' : 's');
        fed += rows;
    }
    return reading;
}

TEST(PromptCut, GoingOnGivesEveryTokenTheArithmeticOfReadingAnew) {
    std::mt19937 random(9);
    for (const std::size_t border : {64, 128, 256, 2048}) {
        const PromptCut cut{border};
        const std::size_t rows = std::max<std::size_t>(border, 128);
        for (int i = 0; i < 20'000; ++i) {
            const std::size_t first = 1 + random() % (4 * border), second = 2 + random() % (4 * border);
            const Reading before = read(cut, 0, first, rows);
            const std::size_t common = random() % 3 == 0 ? random() % first : std::min(first, second);
            const std::size_t kept = cut.usable(std::min(common, before.kept), second);
            ASSERT_LE(kept, std::min(common, before.kept));
            ASSERT_LT(kept, second);
            ASSERT_EQ(before.forms.find('s', 0) < kept, false);
            const Reading anew = read(cut, 0, second, rows), on = read(cut, kept, second, rows);
            ASSERT_EQ(on.forms, anew.forms) << "border " << border << ", " << first << " and then " << second << " tokens, " << common << " in common, " << kept << " kept";
            ASSERT_EQ(on.kept, anew.kept);
            if (second > common + 128) {
                ASSERT_GT(kept + 128, std::min(common, before.kept)); // and hardly anything is lost
            }
        }
    }
}

TEST(PromptCut, TokensHaveTheirArithmeticWhoeverElseIsServed) {
    std::mt19937 random(10);
    for (const std::size_t border : {64, 128, 256, 2048}) {
        const PromptCut cut{border};
        const std::size_t rows = std::max<std::size_t>(border, 128);
        for (int i = 0; i < 5'000; ++i) {
            const std::size_t prompt = 1 + random() % (4 * border);
            ASSERT_EQ(read(cut, 0, prompt, rows, &random).forms, read(cut, 0, prompt, rows).forms) << "border " << border << ", " << prompt << " tokens";
        }
    }
}

TEST(PromptCut, NothingIsCutOrLostWhereAllRowsAreOneArithmetic) {
    const PromptCut cut;
    EXPECT_EQ(cut.piece(100, 1000, 256, false), 256u);
    EXPECT_EQ(cut.piece(900, 1000, 256, true), 100u);
    EXPECT_EQ(cut.usable(777, 1000), 777u);
    EXPECT_EQ(cut.usable(1000, 1000), 999u); // the last token is read in any case
    EXPECT_TRUE(cut.is_kept(777, 1));
}

TEST(PromptCut, APieceThatWouldBeLongWaitsRatherThanBeCutByOthers) {
    const PromptCut cut{2048};
    EXPECT_EQ(cut.piece(0, 5000, 34, false), 0u);
    EXPECT_EQ(cut.piece(0, 5000, 34, true), 0u);
    EXPECT_EQ(cut.piece(4096, 4120, 34, false), 24u); // one that is short goes along
    EXPECT_EQ(cut.piece(4096, 4150, 34, true), 34u);  // and may be cut
    EXPECT_EQ(cut.piece(0, 5000, 2048, true), 256u);  // long ones are cut for those who wait
    EXPECT_EQ(cut.piece(0, 300, 2048, true), 192u);   // but stay long
    EXPECT_EQ(cut.piece(0, 300, 2048, false), 300u);
    EXPECT_FALSE(cut.is_kept(0, 34));
}

} // namespace
} // namespace lucebox::engine
