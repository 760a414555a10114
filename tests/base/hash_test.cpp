#include "base/file.h"
#include "base/hash.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>

namespace lucebox {
namespace {

std::string digest_of(std::string_view text, Sha256::Path path) {
    Sha256 hash(path);
    hash.update(text);
    return hex(hash.finish());
}

// Answers from NIST's example values for SHA-256 and the FIPS 180-2 appendix; the others made with coreutils'
// sha256sum.
TEST(Sha256, known_answers_hold_on_both_paths) {
    const std::pair<std::string, const char*> known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {std::string(55, 'x'), "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072"},
        {std::string(64, 'x'), "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c"},
        {std::string(1000000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"}};
    for (const auto& [text, digest] : known) {
        EXPECT_EQ(digest_of(text, Sha256::Path::portable), digest) << text.size();
        EXPECT_EQ(digest_of(text, Sha256::Path::fastest), digest) << text.size();
    }
}

TEST(Sha256, result_does_not_depend_on_path_or_on_how_the_bytes_were_cut) {
    std::mt19937 random(7);
    for (std::size_t length = 0; length < 300; ++length) {
        std::string text(length, '\0');
        for (char& c : text)
            c = static_cast<char>(random());
        const std::string whole = digest_of(text, Sha256::Path::portable);
        EXPECT_EQ(digest_of(text, Sha256::Path::fastest), whole);
        Sha256 hash;
        for (std::size_t at = 0; at < length;) {
            const std::size_t part = std::min<std::size_t>(random() % 100, length - at);
            hash.update(std::string_view(text).substr(at, part));
            at += part;
        }
        EXPECT_EQ(hex(hash.finish()), whole) << length;
    }
}

TEST(Sha256, object_starts_anew_after_finish) {
    Sha256 hash;
    hash.update("something");
    (void)hash.finish();
    hash.update("abc");
    EXPECT_EQ(hash.finish(), sha256("abc"));
}

TEST(Sha256, file_has_the_digest_of_its_bytes_and_can_be_stopped) {
    const auto path = std::filesystem::path(testing::TempDir()) / "lucebox-hash";
    const std::string text((3u << 20) + 17, 'q');
    ASSERT_TRUE(write_file_atomically(path, std::as_bytes(std::span(text))));
    EXPECT_EQ(*sha256_file(path), sha256(text));
    const auto stopped = sha256_file(path, [](std::uint64_t) { return false; });
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().kind, ErrorKind::cancelled);
    EXPECT_FALSE(sha256_file("/nonexistent/file"));
}

TEST(Sha256, hex_form_is_read_back_and_anything_else_refused) {
    const auto digest = sha256("abc");
    EXPECT_EQ(digest_from_hex(hex(digest)), digest);
    std::string upper = hex(digest);
    for (char& c : upper)
        c = static_cast<char>(std::toupper(c));
    EXPECT_EQ(digest_from_hex(upper), digest);
    EXPECT_FALSE(digest_from_hex(upper.substr(1)));
    upper[5] = 'g';
    EXPECT_FALSE(digest_from_hex(upper));
    auto other = digest;
    other[31] ^= 1;
    EXPECT_TRUE(equal_in_constant_time(digest, digest));
    EXPECT_FALSE(equal_in_constant_time(digest, other));
}

} // namespace
} // namespace lucebox
