#include "gguf/header.h"

#include "gguf/byte_reader.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <numeric>

namespace lucebox::gguf {
namespace {

constexpr std::uint32_t magic = 0x46554747; // "GGUF"
constexpr std::uint64_t largest_alignment = 1u << 20;
constexpr std::size_t longest_key = 65'535; // the format's own limit
constexpr std::size_t longest_tensor_name = 255;
// The smallest encodings: a key of no bytes with a one-byte value; a tensor without name or dimensions.
constexpr std::uint64_t smallest_entry = 8 + 4 + 1;
constexpr std::uint64_t smallest_tensor = 8 + 4 + 4 + 8;

enum class ValueType : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

Error invalid(std::string message, std::string hint = {}) {
    return {ErrorKind::invalid_data, std::move(message), std::move(hint)};
}

Error truncated(std::string_view field) {
    return invalid(fmt::format("the file ends inside {}", field), "it may be an incomplete download: fetch it again");
}

// ---- values

template <class Wide, class Narrow>
bool read_scalar(ByteReader& reader, Scalar& out) {
    Narrow value{};
    if (!reader.read(value)) return false;
    out = static_cast<Wide>(value);
    return true;
}

bool read_bool(ByteReader& reader, Scalar& out) {
    std::uint8_t byte = 0;
    if (!reader.read(byte)) return false;
    out = byte != 0;
    return true;
}

bool read_text(ByteReader& reader, Scalar& out) {
    std::string_view text;
    if (!reader.read_string(text)) return false;
    out = std::string(text);
    return true;
}

template <class Wide, class Narrow>
bool read_array(ByteReader& reader, std::uint64_t count, Array& out) {
    std::string_view raw;
    if (count > reader.remaining() / sizeof(Narrow) || !reader.read_view(count * sizeof(Narrow), raw)) return false;
    std::vector<Wide> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) {
        Narrow value{};
        std::memcpy(&value, raw.data() + i * sizeof(Narrow), sizeof(Narrow));
        if constexpr (std::is_same_v<Wide, bool>) {
            values[i] = value != 0;
        } else {
            values[i] = static_cast<Wide>(value);
        }
    }
    out = std::move(values);
    return true;
}

bool read_texts(ByteReader& reader, std::uint64_t count, Array& out) {
    if (count > reader.remaining() / sizeof(std::uint64_t)) return false; // each has at least its length
    std::vector<std::string> texts;
    texts.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
        std::string_view text;
        if (!reader.read_string(text)) return false;
        texts.emplace_back(text);
    }
    out = std::move(texts);
    return true;
}

// Nothing: no such value type. Otherwise whether all its bytes were there.
std::optional<bool> read_scalar(ByteReader& reader, ValueType type, Scalar& out) {
    switch (type) {
    case ValueType::u8: return read_scalar<std::uint64_t, std::uint8_t>(reader, out);
    case ValueType::i8: return read_scalar<std::int64_t, std::int8_t>(reader, out);
    case ValueType::u16: return read_scalar<std::uint64_t, std::uint16_t>(reader, out);
    case ValueType::i16: return read_scalar<std::int64_t, std::int16_t>(reader, out);
    case ValueType::u32: return read_scalar<std::uint64_t, std::uint32_t>(reader, out);
    case ValueType::i32: return read_scalar<std::int64_t, std::int32_t>(reader, out);
    case ValueType::f32: return read_scalar<double, float>(reader, out);
    case ValueType::boolean: return read_bool(reader, out);
    case ValueType::string: return read_text(reader, out);
    case ValueType::u64: return read_scalar<std::uint64_t, std::uint64_t>(reader, out);
    case ValueType::i64: return read_scalar<std::int64_t, std::int64_t>(reader, out);
    case ValueType::f64: return read_scalar<double, double>(reader, out);
    case ValueType::array: break;
    }
    return std::nullopt;
}

std::optional<bool> read_array(ByteReader& reader, ValueType type, std::uint64_t count, Array& out) {
    switch (type) {
    case ValueType::u8: return read_array<std::uint64_t, std::uint8_t>(reader, count, out);
    case ValueType::i8: return read_array<std::int64_t, std::int8_t>(reader, count, out);
    case ValueType::u16: return read_array<std::uint64_t, std::uint16_t>(reader, count, out);
    case ValueType::i16: return read_array<std::int64_t, std::int16_t>(reader, count, out);
    case ValueType::u32: return read_array<std::uint64_t, std::uint32_t>(reader, count, out);
    case ValueType::i32: return read_array<std::int64_t, std::int32_t>(reader, count, out);
    case ValueType::f32: return read_array<double, float>(reader, count, out);
    case ValueType::boolean: return read_array<bool, std::uint8_t>(reader, count, out);
    case ValueType::string: return read_texts(reader, count, out);
    case ValueType::u64: return read_array<std::uint64_t, std::uint64_t>(reader, count, out);
    case ValueType::i64: return read_array<std::int64_t, std::int64_t>(reader, count, out);
    case ValueType::f64: return read_array<double, double>(reader, count, out);
    case ValueType::array: break;
    }
    return std::nullopt;
}

Result<Value> read_value(ByteReader& reader, std::string_view key) {
    const auto field = [&] { return fmt::format("the value of key {}", printable(key)); };
    std::uint32_t type = 0;
    if (!reader.read(type)) return truncated(field());
    std::optional<bool> complete;
    Value value;
    if (static_cast<ValueType>(type) == ValueType::array) {
        std::uint64_t count = 0;
        if (!reader.read(type) || !reader.read(count)) return truncated(field());
        if (static_cast<ValueType>(type) == ValueType::array) {
            return invalid(fmt::format("key {} is an array of arrays", printable(key)));
        }
        complete = read_array(reader, static_cast<ValueType>(type), count, value.emplace<Array>());
    } else {
        complete = read_scalar(reader, static_cast<ValueType>(type), value.emplace<Scalar>());
    }
    if (!complete) return invalid(fmt::format("key {} has the unknown value type {}", printable(key), type));
    if (!*complete) return truncated(field());
    return value;
}

// ---- the three sections

struct Counts {
    std::uint64_t tensors = 0;
    std::uint64_t keys = 0;
};

Status check_version(std::uint32_t version) {
    if (version == 2 || version == 3) return Ok{};
    if (version != 0 && (version & 0xFFFFu) == 0) {
        return invalid("the file is big-endian GGUF; only little-endian files can be read");
    }
    return invalid(fmt::format("GGUF version {} is not known here (2 and 3 are)", version));
}

Result<Counts> read_preamble(ByteReader& reader, Header& header, HeaderBudget& budget) {
    std::uint32_t word = 0;
    if (!reader.read(word)) return truncated("the magic number");
    if (word != magic) {
        return invalid("the file does not begin with the magic number \"GGUF\"", "it may be the page of a failed download, or a model in another format: fetch a .gguf file");
    }
    if (!reader.read(header.version)) return truncated("the version");
    LUCEBOX_CHECK(check_version(header.version));
    Counts counts;
    if (!reader.read(counts.tensors) || !reader.read(counts.keys)) return truncated("the counts");
    if (counts.keys > reader.remaining() / smallest_entry) {
        return invalid(fmt::format("the count of keys, {}, is more than the file has room for", counts.keys));
    }
    if (counts.tensors > reader.remaining() / smallest_tensor) {
        return invalid(fmt::format("the count of tensors, {}, is more than the file has room for", counts.tensors));
    }
    if (counts.keys > budget.keys) return invalid(fmt::format("{} keys are more than a model can have", counts.keys));
    if (counts.tensors > budget.tensors) {
        return invalid(fmt::format("{} tensors are more than a model can have", counts.tensors));
    }
    budget.keys -= counts.keys;
    budget.tensors -= counts.tensors;
    return counts;
}

Result<Metadata> read_metadata(ByteReader& reader, std::uint64_t index) {
    Metadata entry;
    if (!reader.read_string(entry.key)) return truncated(fmt::format("the name of key {}", index));
    if (entry.key.empty()) return invalid(fmt::format("key {} has no name", index));
    if (entry.key.size() > longest_key) {
        return invalid(fmt::format("key {} has a name of {} bytes", index, entry.key.size()));
    }
    const std::uint64_t start = reader.position();
    LUCEBOX_TRY(entry.value, read_value(reader, entry.key));
    entry.encoded = reader.view_since(start);
    return entry;
}

Result<TensorInfo> read_tensor(ByteReader& reader, std::uint64_t index) {
    TensorInfo tensor;
    if (!reader.read_string(tensor.name)) return truncated(fmt::format("the name of tensor {}", index));
    if (tensor.name.empty() || tensor.name.size() > longest_tensor_name) {
        return invalid(fmt::format("tensor {} has a name of {} bytes", index, tensor.name.size()));
    }
    const auto field = [&] { return fmt::format("the description of tensor {}", printable(tensor.name)); };
    std::uint32_t dimensions = 0;
    if (!reader.read(dimensions)) return truncated(field());
    if (dimensions > tensor.shape.size()) {
        return invalid(fmt::format("tensor {} has {} dimensions", printable(tensor.name), dimensions));
    }
    for (std::uint32_t i = 0; i < dimensions; ++i) {
        if (!reader.read(tensor.shape[i])) return truncated(field());
    }
    std::uint32_t id = 0;
    if (!reader.read(id) || !reader.read(tensor.offset)) return truncated(field());
    const auto type = tensor_type_from_id(id);
    if (!type) {
        return invalid(fmt::format("tensor {} has the unknown type {}", printable(tensor.name), id),
                       "Files made for other engines may use types that are not part of GGUF.");
    }
    tensor.type = *type;
    LUCEBOX_TRY(tensor.bytes, tensor_bytes(tensor));
    return tensor;
}

// ---- checks of the whole

// Sorting, not hashing: no choice of names makes it slow.
template <class Entries, class Name>
std::optional<std::string_view> find_duplicate(const Entries& entries, Name name) {
    std::vector<std::string_view> names;
    names.reserve(entries.size());
    for (const auto& entry : entries)
        names.push_back(name(entry));
    std::sort(names.begin(), names.end());
    const auto found = std::adjacent_find(names.begin(), names.end());
    return found == names.end() ? std::nullopt : std::optional(*found);
}

Result<std::uint64_t> find_alignment(const std::vector<Metadata>& metadata) {
    for (const Metadata& entry : metadata) {
        if (entry.key != "general.alignment") continue;
        const auto* scalar = std::get_if<Scalar>(&entry.value);
        const auto* number = scalar != nullptr ? std::get_if<std::uint64_t>(scalar) : nullptr;
        // The format asks for multiples of 8, so that rows of every type can be read in place.
        if (number == nullptr || !std::has_single_bit(*number) || *number < 8 || *number > largest_alignment) {
            return invalid("general.alignment is not a power of two from 8 to 1 MiB");
        }
        return *number;
    }
    return std::uint64_t{default_alignment};
}

Status check_ranges(const Header& header, std::uint64_t alignment, std::uint64_t file_bytes) {
    if (header.tensors.empty()) return Ok{};
    if (header.data_start > file_bytes) return truncated("the padding before the tensor data");
    const std::uint64_t data_bytes = file_bytes - header.data_start;
    for (const TensorInfo& tensor : header.tensors) {
        if (tensor.offset % alignment != 0) {
            return invalid(
                fmt::format("the offset of tensor {} is not a multiple of {}", printable(tensor.name), alignment));
        }
        if (tensor.offset > data_bytes || tensor.bytes > data_bytes - tensor.offset) {
            return invalid(fmt::format("tensor {} reaches past the end of the file", printable(tensor.name)),
                           "it may be an incomplete download: fetch it again");
        }
    }
    return Ok{};
}

Status check_overlaps(const Header& header) {
    std::vector<std::size_t> order(header.tensors.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto& tensors = header.tensors;
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return tensors[a].offset < tensors[b].offset; });
    for (std::size_t i = 1; i < order.size(); ++i) {
        const TensorInfo& before = tensors[order[i - 1]];
        const TensorInfo& after = tensors[order[i]];
        if (after.offset - before.offset < before.bytes) {
            return invalid(fmt::format("tensors {} and {} overlap", printable(before.name), printable(after.name)));
        }
    }
    return Ok{};
}

Status read_entries(ByteReader& reader, const Counts& counts, Header& header) {
    for (std::uint64_t i = 0; i < counts.keys; ++i) {
        LUCEBOX_TRY(auto entry, read_metadata(reader, i));
        header.metadata.push_back(std::move(entry));
    }
    if (const auto key = find_duplicate(header.metadata, [](const Metadata& entry) { return entry.key; })) {
        return invalid(fmt::format("key {} occurs twice", printable(*key)));
    }
    header.tensors.reserve(static_cast<std::size_t>(counts.tensors));
    for (std::uint64_t i = 0; i < counts.tensors; ++i) {
        LUCEBOX_TRY(auto tensor, read_tensor(reader, i));
        header.tensors.push_back(tensor);
    }
    if (const auto name = find_duplicate(header.tensors, [](const TensorInfo& tensor) { return tensor.name; })) {
        return invalid(fmt::format("tensor {} occurs twice", printable(*name)));
    }
    return Ok{};
}

} // namespace

Result<std::uint64_t> tensor_bytes(const TensorInfo& tensor) {
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
        if (tensor.shape[i] == 0)
            return invalid(fmt::format("dimension {} of tensor {} is 0", i, printable(tensor.name)));
    }
    const BlockFormat& format = block_format(tensor.type);
    if (tensor.shape[0] % format.elements != 0) {
        return invalid(fmt::format("tensor {} has rows of {} values, which are not whole blocks of {} ({} values)",
                                   printable(tensor.name), tensor.shape[0], format.name, format.elements));
    }
    // Blocks, not values: a tensor that fits has fewer than 2^63 of either, and both products are checked.
    std::uint64_t values = 1;
    std::uint64_t bytes = 0;
    bool fits = true;
    for (const std::uint64_t dimension : tensor.shape) {
        fits = fits && !__builtin_mul_overflow(values, dimension, &values);
    }
    fits = fits && !__builtin_mul_overflow(values / format.elements, std::uint64_t{format.bytes}, &bytes);
    if (!fits || values > INT64_MAX || bytes > INT64_MAX) {
        return invalid(fmt::format("the dimensions of tensor {} are too large", printable(tensor.name)));
    }
    return bytes;
}

Result<Header> parse_header(std::span<const std::byte> bytes, HeaderBudget& budget) {
    const std::uint64_t limit = std::min<std::uint64_t>(bytes.size(), budget.header_bytes);
    ByteReader reader(bytes.first(static_cast<std::size_t>(limit)));
    Header header;
    LUCEBOX_TRY(const Counts counts, read_preamble(reader, header, budget));
    if (auto status = read_entries(reader, counts, header); !status) {
        if (limit == bytes.size()) return status.error();
        return invalid(fmt::format("{} (no more than {} bytes of metadata are read)", status.error().message, limit));
    }
    budget.header_bytes -= reader.position();
    LUCEBOX_TRY(const std::uint64_t alignment, find_alignment(header.metadata));
    header.data_start = (reader.position() + alignment - 1) / alignment * alignment;
    LUCEBOX_CHECK(check_ranges(header, alignment, bytes.size()));
    LUCEBOX_CHECK(check_overlaps(header));
    return header;
}

} // namespace lucebox::gguf
