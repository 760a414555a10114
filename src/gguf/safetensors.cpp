#include "gguf/safetensors.h"

#include "base/file.h"
#include "gguf/blocks.h"
#include "gguf/byte_reader.h"
#include "gguf/safetensors_header.h"

#include <algorithm>
#include <cassert>
#include <fmt/format.h>
#include <numeric>

namespace lucebox::gguf {
namespace {

// The header of 100,000 tensors takes about 12 MB. The limit bounds the time that a hostile one costs.
constexpr std::uint64_t longest_header = 32u << 20;
constexpr std::size_t most_shards = 4096; // each holds a descriptor while it is opened, and a mapping
constexpr std::string_view index_name = "model.safetensors.index.json";
constexpr std::string_view single_name = "model.safetensors";

Error invalid(std::string message, std::string hint = {}) {
    return {ErrorKind::invalid_data, std::move(message), std::move(hint)};
}

Error in_file(const std::filesystem::path& path, Error error) {
    error.message = fmt::format("{}: {}", path.string(), error.message);
    return error;
}

// The tensors cover the data section without gap or overlap, as every writer lays them out.
Status check_ranges(const std::vector<StoredInfo>& tensors, std::uint64_t data_bytes) {
    std::vector<std::size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto range = [&](std::size_t i) { return std::pair(tensors[i].begin, tensors[i].end); };
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return range(a) < range(b); });
    std::uint64_t covered = 0;
    for (const std::size_t i : order) {
        const StoredInfo& tensor = tensors[i];
        if (tensor.end > data_bytes) {
            return invalid(fmt::format("tensor {} reaches past the end of the file", printable(tensor.name)),
                           "it may be an incomplete download: fetch it again");
        }
        if (tensor.begin != covered) {
            return invalid(
                fmt::format("tensor {} does not begin where the one before it ends", printable(tensor.name)));
        }
        covered = tensor.end;
    }
    if (covered != data_bytes) {
        return invalid(fmt::format("{} bytes at the end of the file belong to no tensor", data_bytes - covered));
    }
    return Ok{};
}

struct Shard {
    MappedFile mapping;
    std::vector<StoredTensor> tensors; // by name
    StringPairs metadata;
};

Result<Shard> read_shard(MappedFile mapping) {
    const auto bytes = mapping.bytes();
    ByteReader reader(bytes);
    std::uint64_t header_bytes = 0;
    std::string_view json;
    if (!reader.read(header_bytes)) return invalid("the file is too short to be safetensors");
    if (header_bytes > longest_header) {
        return invalid(fmt::format("the header's length, {} bytes, is more than {}", header_bytes, longest_header),
                       "Is this a safetensors file?");
    }
    if (!reader.read_view(header_bytes, json)) {
        return invalid("the file ends inside the header", "it may be an incomplete download: fetch it again");
    }
    LUCEBOX_TRY(StoredHeader header, parse_stored_header(json));
    const auto data = bytes.subspan(static_cast<std::size_t>(reader.position()));
    LUCEBOX_CHECK(check_ranges(header.tensors, data.size()));
    Shard shard{std::move(mapping), {}, std::move(header.metadata)};
    for (StoredInfo& info : header.tensors) {
        const auto begin = static_cast<std::size_t>(info.begin);
        const auto part = data.subspan(begin, static_cast<std::size_t>(info.end) - begin);
        shard.tensors.push_back({std::move(info.name), info.type, std::move(info.shape), part});
    }
    return shard;
}

Result<Shard> open_shard(const std::filesystem::path& path) {
    LUCEBOX_TRY(const File file, File::open(path));
    LUCEBOX_TRY(MappedFile mapping, MappedFile::map(file));
    auto shard = read_shard(std::move(mapping));
    if (!shard) return in_file(path, shard.error());
    return shard;
}

const StoredTensor* find_by_name(const std::vector<StoredTensor>& tensors, std::string_view name) {
    const auto before = [](const StoredTensor& tensor, std::string_view wanted) { return tensor.name < wanted; };
    const auto at = std::lower_bound(tensors.begin(), tensors.end(), name, before);
    return at != tensors.end() && at->name == name ? &*at : nullptr;
}

std::filesystem::path resolve(const std::filesystem::path& path) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(path, ignored)) return path;
    if (std::filesystem::exists(path / index_name, ignored)) return path / index_name;
    return path / single_name;
}

} // namespace

struct Safetensors::State {
    std::vector<MappedFile> mappings;
    std::vector<StoredTensor> tensors; // by name
    StringPairs metadata;

    // Takes the tensors that the index says are in this file: `places` are (tensor, file) pairs of one file.
    Status add(Shard shard, std::span<const std::pair<std::string, std::string>> places) {
        for (const auto& [name, file] : places) {
            const StoredTensor* tensor = find_by_name(shard.tensors, name);
            if (tensor == nullptr)
                return invalid(fmt::format("tensor {} is not in {}", printable(name), printable(file)));
            tensors.push_back(*tensor);
        }
        if (mappings.empty()) metadata = std::move(shard.metadata);
        mappings.push_back(std::move(shard.mapping));
        return Ok{};
    }
};

const StoredFormat& stored_format(StoredType type) {
    static constexpr StoredFormat formats[] = {
        {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I64", 8},  {"I32", 4},
        {"I16", 2}, {"I8", 1},  {"U64", 8}, {"U32", 4},  {"U16", 2},     {"U8", 1},      {"BOOL", 1},
    };
    static_assert(std::size(formats) == static_cast<std::size_t>(StoredType::boolean) + 1);
    return formats[static_cast<std::size_t>(type)];
}

Safetensors::Safetensors(std::unique_ptr<State> state) : state_(std::move(state)) {}
Safetensors::Safetensors(Safetensors&&) noexcept = default;
Safetensors& Safetensors::operator=(Safetensors&&) noexcept = default;
Safetensors::~Safetensors() = default;

Result<Safetensors> Safetensors::open(const std::filesystem::path& given) {
    const std::filesystem::path path = resolve(given);
    auto state = std::make_unique<State>();
    if (!path.filename().string().ends_with(".json")) {
        LUCEBOX_TRY(Shard shard, open_shard(path));
        state->tensors = std::move(shard.tensors);
        state->metadata = std::move(shard.metadata);
        state->mappings.push_back(std::move(shard.mapping));
        return Safetensors(std::move(state));
    }
    LUCEBOX_TRY(const std::string json, read_text_file(path, longest_header));
    auto map = parse_shard_index(json);
    if (!map) return in_file(path, map.error());
    std::sort(map->begin(), map->end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    for (auto first = map->begin(); first != map->end();) {
        const std::string& file = first->second;
        const auto last = std::find_if(first, map->end(), [&](const auto& place) { return place.second != file; });
        if (state->mappings.size() == most_shards) return in_file(path, invalid("the index names too many shards"));
        LUCEBOX_TRY(Shard shard, open_shard(path.parent_path() / file));
        if (auto status = state->add(std::move(shard), {first, last}); !status) return in_file(path, status.error());
        first = last;
    }
    std::sort(state->tensors.begin(), state->tensors.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return Safetensors(std::move(state));
}

std::span<const StoredTensor> Safetensors::tensors() const {
    return state_->tensors;
}

const StoredTensor* Safetensors::find(std::string_view name) const {
    return find_by_name(state_->tensors, name);
}

const std::string* Safetensors::metadata(std::string_view key) const {
    for (const auto& [name, value] : state_->metadata) {
        if (name == key) return &value;
    }
    return nullptr;
}

Status read_f32(const StoredTensor& tensor, std::uint64_t first_element, std::span<float> out) {
    if (first_element > tensor.elements() || out.size() > tensor.elements() - first_element) {
        return Error{ErrorKind::internal, fmt::format("read past the end of tensor {}", printable(tensor.name))};
    }
    const StoredFormat& format = stored_format(tensor.type);
    const auto data =
        tensor.data.subspan(static_cast<std::size_t>(first_element) * format.bytes, out.size() * format.bytes);
    switch (tensor.type) {
    case StoredType::f32: dequantise_row(TensorType::f32, data, out); return Ok{};
    case StoredType::f16: dequantise_row(TensorType::f16, data, out); return Ok{};
    case StoredType::bf16: dequantise_row(TensorType::bf16, data, out); return Ok{};
    case StoredType::f64:
        for (std::size_t i = 0; i < out.size(); ++i) {
            double value = 0;
            std::memcpy(&value, data.data() + i * sizeof value, sizeof value);
            out[i] = static_cast<float>(value);
        }
        return Ok{};
    default:
        return Error{ErrorKind::unsupported, fmt::format("tensor {} is {}, which nothing here turns into f32",
                                                         printable(tensor.name), format.name)};
    }
}

} // namespace lucebox::gguf
