// Expected replacements are those of the Unicode Standard's own examples (chapter 3, tables 3-8 to 3-11).
#include "text/tokenizer.h"
#include "text/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace lucebox::text {
namespace {

using namespace std::string_literals;

const std::string kBad = "\xEF\xBF\xBD";

std::string whole(std::string_view bytes) {
    Utf8Stream stream;
    std::string out = stream.push(bytes);
    return out + stream.finish();
}

// A second decoder, written the other way round: accept by value, not by the table of byte ranges.
bool is_valid_utf8(std::string_view s) {
    for (std::size_t i = 0; i < s.size();) {
        const auto b = [&](std::size_t k) { return static_cast<unsigned char>(s[i + k]); };
        std::size_t n = b(0) < 0x80 ? 1 : b(0) >> 5 == 6 ? 2 : b(0) >> 4 == 14 ? 3 : b(0) >> 3 == 30 ? 4 : 0;
        if (n == 0 || i + n > s.size()) return false;
        std::uint32_t value = n == 1 ? b(0) : b(0) & (0xFFu >> (n + 1));
        for (std::size_t k = 1; k < n; ++k) {
            if (b(k) >> 6 != 2) return false;
            value = value << 6 | (b(k) & 63u);
        }
        constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        if (value < least[n] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return false;
        i += n;
    }
    return true;
}

TEST(Utf8, ReplacesMaximalSubpartsAsTheStandardShows) {
    EXPECT_EQ(whole("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"s),
              kBad + kBad + kBad + kBad + kBad + kBad + kBad + kBad + "A");
    EXPECT_EQ(whole("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"s),
              kBad + kBad + kBad + kBad + kBad + kBad + kBad + kBad + "A");
    EXPECT_EQ(whole("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"s),
              kBad + kBad + kBad + kBad + kBad + "A" + kBad + kBad + "B");
    EXPECT_EQ(whole("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"s), kBad + kBad + kBad + kBad + "A");
}

TEST(Utf8, EveryScalarValueSurvivesEncodingAndDecoding) {
    for (char32_t c = 0; c <= 0x10FFFF; ++c) {
        if (c >= 0xD800 && c < 0xE000) continue;
        std::string bytes;
        append_utf8(bytes, c);
        const DecodedCharacter back = decode_utf8(bytes, 0);
        ASSERT_EQ(back.kind, DecodedCharacter::Kind::whole) << std::hex << static_cast<std::uint32_t>(c);
        ASSERT_EQ(back.code_point, c);
        ASSERT_EQ(back.bytes, bytes.size());
        for (std::size_t cut = 1; cut < bytes.size(); ++cut)
            ASSERT_EQ(decode_utf8(std::string_view(bytes).substr(0, cut), 0).kind, DecodedCharacter::Kind::unfinished);
    }
}

TEST(Utf8Stream, HoldsBackAnUnfinishedCharacterUntilItsLastByte) {
    Utf8Stream stream;
    EXPECT_EQ(stream.push("a\xF0"), "a");
    EXPECT_EQ(stream.push("\x9F\xA6"), "");
    EXPECT_EQ(stream.push("\x99z"), "\xF0\x9F\xA6\x99z");
    EXPECT_EQ(stream.finish(), "");
}

TEST(Utf8Stream, ReplacesTheUnfinishedRestOnceAndStartsAfresh) {
    Utf8Stream stream;
    EXPECT_EQ(stream.push("\xE2\x82"), "");
    EXPECT_EQ(stream.finish(), kBad);
    EXPECT_EQ(stream.finish(), "");
    EXPECT_EQ(stream.push("\xAC"), kBad); // the old part is forgotten
}

TEST(Utf8Stream, DoesNotDependOnWhereTheBytesAreCutAndNeverEmitsBrokenUtf8) {
    std::mt19937 random(7);
    const std::string pool = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\xA6\x99\xED\xA0\x80\xC0\xFF\xE0\x9F\xF4\x90";
    for (int round = 0; round < 3000; ++round) {
        std::string bytes;
        for (auto n = random() % 40; n > 0; --n)
            bytes += random() % 3 ? pool[random() % pool.size()] : static_cast<char>(random() % 256);
        Utf8Stream stream;
        std::string joined;
        for (std::size_t i = 0; i < bytes.size();) {
            const std::size_t n = random() % 4;
            const std::string part = stream.push(std::string_view(bytes).substr(i, n));
            ASSERT_TRUE(is_valid_utf8(part));
            joined += part;
            i += n;
        }
        joined += stream.finish();
        ASSERT_TRUE(is_valid_utf8(joined));
        ASSERT_EQ(joined, whole(bytes));
        if (is_valid_utf8(bytes)) {
            ASSERT_EQ(joined, bytes);
        }
    }
}

} // namespace
} // namespace lucebox::text
