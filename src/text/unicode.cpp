#include "text/unicode.h"

#include <array>
#include <cstddef>
#include <memory>

namespace lucebox::text {
namespace {

constexpr std::uint32_t kRanges[] = {
#include "text/unicode_tables.inc"
};

constexpr char32_t kEnd = 0x110000;

// One byte for each code point (1.1 MB, of which a text touches a few pages): a lookup is a single load, and text is
// looked up character by character. Built from the ranges in well under a millisecond.
std::unique_ptr<std::array<Category, kEnd>> expand() {
    auto table = std::make_unique<std::array<Category, kEnd>>();
    constexpr std::size_t count = std::size(kRanges);
    for (std::size_t i = 0; i < count; ++i) {
        const char32_t end = i + 1 < count ? kRanges[i + 1] >> 4 : kEnd;
        for (char32_t c = kRanges[i] >> 4; c < end; ++c)
            (*table)[c] = static_cast<Category>(kRanges[i] & 15);
    }
    return table;
}

} // namespace

Category category(char32_t code_point) {
    static const std::unique_ptr<const std::array<Category, kEnd>> table = expand();
    return code_point < kEnd ? (*table)[code_point] : Category::other;
}

} // namespace lucebox::text
