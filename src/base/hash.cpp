#include "base/hash.h"

#include "base/file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace lucebox {
namespace {

// First 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, section 4.2.2).
alignas(16) constexpr std::uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t load_big_endian(const std::byte* bytes) {
    std::uint32_t word;
    std::memcpy(&word, bytes, sizeof word);
    return std::endian::native == std::endian::little ? __builtin_bswap32(word) : word;
}

void store_big_endian(std::uint32_t word, std::uint8_t* bytes) {
    for (int i = 0; i < 4; ++i)
        bytes[i] = static_cast<std::uint8_t>(word >> (24 - 8 * i));
}

// Section 6.2.2 as written.
void compress_portable(std::uint32_t* state, const std::byte* blocks, std::size_t count) {
    for (; count != 0; --count, blocks += 64) {
        std::uint32_t w[64];
        for (int t = 0; t < 16; ++t)
            w[t] = load_big_endian(blocks + 4 * t);
        for (int t = 16; t < 64; ++t) {
            const std::uint32_t s0 = std::rotr(w[t - 15], 7) ^ std::rotr(w[t - 15], 18) ^ (w[t - 15] >> 3);
            const std::uint32_t s1 = std::rotr(w[t - 2], 17) ^ std::rotr(w[t - 2], 19) ^ (w[t - 2] >> 10);
            w[t] = w[t - 16] + s0 + w[t - 7] + s1;
        }
        std::uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        std::uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (int t = 0; t < 64; ++t) {
            const std::uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
            const std::uint32_t t1 = h + sum1 + ((e & f) ^ (~e & g)) + round_constants[t] + w[t];
            const std::uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
            const std::uint32_t t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + t1;
            d = c, c = b, b = a, a = t1 + t2;
        }
        const std::uint32_t sums[8] = {a, b, c, d, e, f, g, h};
        for (int i = 0; i < 8; ++i)
            state[i] += sums[i];
    }
}

#if defined(__x86_64__)

// The same with four rounds an iteration. The instructions hold the state as two vectors, (a b e f) and (c d g h) from
// the highest lane down; w[] is a ring of the last sixteen message words.
__attribute__((target("sha,sse4.1,ssse3"))) void compress_sha_instructions(std::uint32_t* state,
                                                                           const std::byte* blocks, std::size_t count) {
    const auto lanes = [](std::uint32_t high, std::uint32_t b, std::uint32_t c, std::uint32_t low) {
        return _mm_set_epi32(static_cast<int>(high), static_cast<int>(b), static_cast<int>(c), static_cast<int>(low));
    };
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i abef = lanes(state[0], state[1], state[4], state[5]);
    __m128i cdgh = lanes(state[2], state[3], state[6], state[7]);
    for (; count != 0; --count, blocks += 64) {
        const __m128i abef_before = abef;
        const __m128i cdgh_before = cdgh;
        __m128i w[4];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            __m128i& words = w[i & 3];
            if (i < 4) {
                words = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + 16 * i)), swap);
            } else {
                const __m128i last = w[(i + 3) & 3];
                const __m128i seven_back = _mm_alignr_epi8(last, w[(i + 2) & 3], 4);
                words = _mm_add_epi32(_mm_sha256msg1_epu32(words, w[(i + 1) & 3]), seven_back);
                words = _mm_sha256msg2_epu32(words, last);
            }
            const __m128i constants = _mm_load_si128(reinterpret_cast<const __m128i*>(round_constants + 4 * i));
            const __m128i sum = _mm_add_epi32(words, constants);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    alignas(16) std::uint32_t upper[4], under[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(upper), abef);
    _mm_store_si128(reinterpret_cast<__m128i*>(under), cdgh);
    state[0] = upper[3], state[1] = upper[2], state[4] = upper[1], state[5] = upper[0];
    state[2] = under[3], state[3] = under[2], state[6] = under[1], state[7] = under[0];
}

bool has_sha_instructions() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSE4_1) == 0 || (c & bit_SSSE3) == 0) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

#endif

} // namespace

Sha256::Sha256(Path path) : compress_(compress_portable) {
#if defined(__x86_64__)
    static const bool fast = has_sha_instructions();
    if (fast && path == Path::fastest) compress_ = compress_sha_instructions;
#else
    (void)path;
#endif
    reset();
}

void Sha256::reset() {
    // Fractional parts of the square roots of the first eight primes (section 5.3.3).
    state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    total_ = 0;
}

void Sha256::update(std::span<const std::byte> bytes) {
    const std::size_t held = total_ % 64;
    total_ += bytes.size();
    if (held != 0) {
        const std::size_t taken = std::min(64 - held, bytes.size());
        std::copy_n(bytes.data(), taken, pending_.data() + held);
        bytes = bytes.subspan(taken);
        if (held + taken < 64) return;
        compress_(state_.data(), pending_.data(), 1);
    }
    compress_(state_.data(), bytes.data(), bytes.size() / 64);
    const auto rest = bytes.subspan(bytes.size() / 64 * 64);
    std::copy(rest.begin(), rest.end(), pending_.begin());
}

Sha256Digest Sha256::finish() {
    const std::uint64_t bits = total_ * 8;
    std::array<std::byte, 72> padding{};
    padding[0] = std::byte{0x80};
    const std::size_t held = total_ % 64;
    const std::size_t zeros_end = (held < 56 ? 56 : 120) - held; // the length fills the block's last eight bytes
    for (std::size_t i = 0; i < 8; ++i)
        padding[zeros_end + i] = static_cast<std::byte>(bits >> (56 - 8 * i));
    update(std::span<const std::byte>(padding).first(zeros_end + 8));
    Sha256Digest digest;
    for (std::size_t i = 0; i < 8; ++i)
        store_big_endian(state_[i], digest.data() + 4 * i);
    reset();
    return digest;
}

Sha256Digest sha256(std::string_view text) {
    Sha256 hash;
    hash.update(text);
    return hash.finish();
}

Result<Sha256Digest> sha256_file(const std::filesystem::path& path,
                                 const std::function<bool(std::uint64_t)>& progress) {
    LUCEBOX_TRY(const File file, File::open(path));
    std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 1u << 20)));
    Sha256 hash;
    for (std::uint64_t offset = 0; offset < file.size();) {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), file.size() - offset));
        const auto part = std::span(buffer).first(count);
        LUCEBOX_CHECK(file.read_at(offset, part));
        hash.update(part);
        offset += count;
        if (progress && !progress(offset)) return Error{ErrorKind::cancelled, "stopped while hashing " + path.string()};
    }
    return hash.finish();
}

std::string hex(const Sha256Digest& digest) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const std::uint8_t byte : digest) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

std::optional<Sha256Digest> digest_from_hex(std::string_view text) {
    Sha256Digest digest;
    if (text.size() != 2 * digest.size()) return std::nullopt;
    const auto value = [](char c) {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    for (std::size_t i = 0; i < digest.size(); ++i) {
        const int high = value(text[2 * i]), low = value(text[2 * i + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        digest[i] = static_cast<std::uint8_t>(high << 4 | low);
    }
    return digest;
}

bool equal_in_constant_time(const Sha256Digest& a, const Sha256Digest& b) {
    std::uint8_t difference = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        difference = static_cast<std::uint8_t>(difference | (a[i] ^ b[i]));
    return difference == 0;
}

} // namespace lucebox
