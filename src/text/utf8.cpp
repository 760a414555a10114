#include "text/utf8.h"

#include "text/tokenizer.h"

#include <algorithm>

namespace lucebox::text {
namespace {

using Kind = DecodedCharacter::Kind;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD"; // U+FFFD

struct Lead {
    std::uint32_t length; // of the whole character; 0 if no character begins so
    unsigned char second_low, second_high;
};

// Table 3-7 of The Unicode Standard: the second byte's range excludes overlong forms, surrogates, and > U+10FFFF.
Lead classify_lead(unsigned char lead) {
    if (lead < 0xC2) return {0, 0, 0};
    if (lead < 0xE0) return {2, 0x80, 0xBF};
    if (lead == 0xE0) return {3, 0xA0, 0xBF};
    if (lead == 0xED) return {3, 0x80, 0x9F};
    if (lead < 0xF0) return {3, 0x80, 0xBF};
    if (lead == 0xF0) return {4, 0x90, 0xBF};
    if (lead < 0xF4) return {4, 0x80, 0xBF};
    if (lead == 0xF4) return {4, 0x80, 0x8F};
    return {0, 0, 0};
}

// Appends what is decided of `bytes` to `out`; returns how many bytes at the end are an unfinished character.
std::size_t append_decided(std::string& out, std::string_view bytes) {
    std::size_t position = 0;
    std::size_t good_from = 0;
    const auto flush = [&](std::size_t end) { out.append(bytes.substr(good_from, end - good_from)); };
    while (position < bytes.size()) {
        const DecodedCharacter c = decode_utf8(bytes, position);
        if (c.kind == Kind::unfinished) {
            flush(position);
            return bytes.size() - position;
        }
        if (c.kind == Kind::invalid) {
            flush(position);
            out.append(kReplacement);
            good_from = position + c.bytes;
        }
        position += c.bytes;
    }
    flush(bytes.size());
    return 0;
}

} // namespace

DecodedCharacter decode_utf8_slow(std::string_view text, std::size_t position) {
    const auto at = [&](std::size_t offset) { return static_cast<unsigned char>(text[position + offset]); };
    const unsigned char first = at(0);
    if (first < 0x80) return {first, 1, Kind::whole};
    const Lead lead = classify_lead(first);
    if (lead.length == 0) return {0xFFFD, 1, Kind::invalid};

    const std::size_t available = std::min<std::size_t>(lead.length, text.size() - position);
    char32_t code_point = first & (0x7Fu >> lead.length);
    for (std::uint32_t i = 1; i < available; ++i) {
        const unsigned char byte = at(i);
        const unsigned char low = i == 1 ? lead.second_low : 0x80;
        const unsigned char high = i == 1 ? lead.second_high : 0xBF;
        if (byte < low || byte > high) return {0xFFFD, i, Kind::invalid};
        code_point = (code_point << 6) | (byte & 0x3Fu);
    }
    if (available < lead.length) return {0xFFFD, static_cast<std::uint32_t>(available), Kind::unfinished};
    return {code_point, lead.length, Kind::whole};
}

void append_utf8(std::string& out, char32_t code_point) {
    const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
    if (code_point < 0x80) {
        put(code_point);
        return;
    }
    if (code_point < 0x800) {
        put(0xC0 | (code_point >> 6));
    } else {
        if (code_point < 0x10000) {
            put(0xE0 | (code_point >> 12));
        } else {
            put(0xF0 | (code_point >> 18));
            put(0x80 | ((code_point >> 12) & 0x3F));
        }
        put(0x80 | ((code_point >> 6) & 0x3F));
    }
    put(0x80 | (code_point & 0x3F));
}

std::string Utf8Stream::push(std::string_view bytes) {
    std::string out;
    out.reserve(pending_.size() + bytes.size());
    if (pending_.empty()) { // the usual case: no copy before decoding
        const std::size_t unfinished = append_decided(out, bytes);
        pending_.assign(bytes.substr(bytes.size() - unfinished));
        return out;
    }
    pending_.append(bytes);
    const std::size_t unfinished = append_decided(out, pending_);
    pending_.erase(0, pending_.size() - unfinished);
    return out;
}

std::string Utf8Stream::finish() {
    std::string out;
    if (!pending_.empty()) out = kReplacement; // what is pending is one maximal subpart
    pending_.clear();
    return out;
}

} // namespace lucebox::text
