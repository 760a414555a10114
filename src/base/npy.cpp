#include "base/npy.h"

#include "base/file.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <limits>
#include <optional>

namespace lucebox {
namespace {

constexpr std::string_view magic = "\x93NUMPY";

Error malformed(const std::filesystem::path& path, std::string_view what) {
    return {ErrorKind::invalid_data, fmt::format("{}: {}", path.string(), what), "write it with numpy.save"};
}

// The text behind 'key': in the header's Python dictionary.
std::optional<std::string_view> value_of(std::string_view header, std::string_view key) {
    const std::size_t at = header.find(fmt::format("'{}'", key));
    if (at == std::string_view::npos) return std::nullopt;
    const std::size_t colon = header.find(':', at);
    if (colon == std::string_view::npos) return std::nullopt;
    std::string_view rest = header.substr(colon + 1);
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    return rest;
}

std::optional<std::vector<std::size_t>> parse_shape(std::string_view text) {
    if (!text.starts_with('(') || text.find(')') == std::string_view::npos) return std::nullopt;
    text = text.substr(1, text.find(')') - 1);
    std::vector<std::size_t> shape;
    while (!text.empty()) {
        if (text.front() == ' ' || text.front() == ',') {
            text.remove_prefix(1);
            continue;
        }
        std::size_t size = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
        if (error != std::errc{}) return std::nullopt;
        shape.push_back(size);
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    }
    return shape;
}

template <class Integer> Result<std::vector<std::int32_t>> narrow(const NpyArray& array, const std::filesystem::path& path) {
    std::vector<std::int32_t> tokens(array.elements());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        Integer value;
        std::memcpy(&value, array.data.data() + i * sizeof value, sizeof value);
        if (!std::in_range<std::int32_t>(value)) return malformed(path, fmt::format("value {} at {} is no token id", value, i));
        tokens[i] = static_cast<std::int32_t>(value);
    }
    return tokens;
}

} // namespace

std::size_t NpyArray::elements() const {
    std::size_t count = 1;
    for (const std::size_t size : shape) count *= size;
    return count;
}

Result<NpyArray> read_npy(const std::filesystem::path& path) {
    LUCEBOX_TRY(const File file, File::open(path));
    std::byte start[12];
    if (file.size() < sizeof start) return malformed(path, "too short for an .npy file");
    LUCEBOX_CHECK(file.read_at(0, start));
    if (std::memcmp(start, magic.data(), magic.size()) != 0) return malformed(path, "not an .npy file");
    const auto version = std::to_integer<int>(start[6]);
    if (version != 1 && version != 2) return malformed(path, fmt::format(".npy version {} is not supported", version));
    std::uint32_t header_size = std::to_integer<std::uint32_t>(start[8]) | std::to_integer<std::uint32_t>(start[9]) << 8;
    if (version == 2) {
        header_size |= std::to_integer<std::uint32_t>(start[10]) << 16 | std::to_integer<std::uint32_t>(start[11]) << 24;
    }
    const std::uint64_t header_at = version == 1 ? 10 : 12;
    if (header_at + header_size > file.size()) return malformed(path, "its header reaches past its end");
    std::string header(header_size, '\0');
    LUCEBOX_CHECK(file.read_at(header_at, std::as_writable_bytes(std::span(header))));

    const auto descr = value_of(header, "descr"), order = value_of(header, "fortran_order"), shape = value_of(header, "shape");
    if (!descr || !order || !shape || descr->size() < 5) return malformed(path, "its header lacks descr, fortran_order or shape");
    if (order->starts_with("True")) return malformed(path, "is in Fortran order; C order is needed");
    NpyArray array;
    array.dtype = descr->substr(1, descr->find('\'', 1) - 1);
    const auto sizes = parse_shape(*shape);
    if (!sizes) return malformed(path, "its shape cannot be read");
    array.shape = *sizes;
    std::size_t item = 0;
    if (array.dtype.size() == 3 && array.dtype[2] >= '1' && array.dtype[2] <= '8') item = static_cast<std::size_t>(array.dtype[2] - '0');
    if (item == 0 || array.dtype[0] == '>') return malformed(path, fmt::format("dtype {} is not supported", array.dtype));
    std::uint64_t bytes = item;
    for (const std::size_t size : array.shape) {
        if (__builtin_mul_overflow(bytes, size, &bytes)) return malformed(path, "its shape overflows");
    }
    if (bytes != file.size() - header_at - header_size) return malformed(path, "its size does not fit its shape");
    array.data.resize(bytes);
    LUCEBOX_CHECK(file.read_at(header_at + header_size, array.data));
    return array;
}

Result<std::vector<std::int32_t>> read_npy_tokens(const std::filesystem::path& path) {
    LUCEBOX_TRY(const NpyArray array, read_npy(path));
    if (array.dtype == "<i4") return narrow<std::int32_t>(array, path);
    if (array.dtype == "<i8") return narrow<std::int64_t>(array, path);
    if (array.dtype == "<u4") return narrow<std::uint32_t>(array, path);
    if (array.dtype == "<u8") return narrow<std::uint64_t>(array, path);
    if (array.dtype == "<i2") return narrow<std::int16_t>(array, path);
    if (array.dtype == "<u2") return narrow<std::uint16_t>(array, path);
    return malformed(path, fmt::format("dtype {} holds no token ids; integers are needed", array.dtype));
}

std::string npy_f32_header(std::span<const std::size_t> shape) {
    std::string sizes;
    for (const std::size_t size : shape) sizes += fmt::format("{}, ", size);
    if (shape.size() > 1) sizes.resize(sizes.size() - 2);
    std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sizes);
    constexpr std::size_t prefix = 10, alignment = 64;
    header.append(alignment - (prefix + header.size() + 1) % alignment, ' ');
    header.push_back('\n');
    std::string out(magic);
    out.append({'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)});
    return out + header;
}

} // namespace lucebox
