#include "gguf/model_file.h"

#include "gguf/byte_reader.h"
#include "gguf/header.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <limits>
#include <numeric>

namespace lucebox::gguf {
namespace {

constexpr std::uint64_t most_parts = 4096; // every part holds a descriptor and a mapping

struct Part {
    File file;
    MappedFile mapping;
    Header header;
};

Error invalid(std::string message, std::string hint = {}) {
    return {ErrorKind::invalid_data, std::move(message), std::move(hint)};
}

Error in_file(const std::filesystem::path& path, Error error) {
    error.message = fmt::format("{}: {}", path.string(), error.message);
    return error;
}

Result<Part> open_part(const std::filesystem::path& path, HeaderBudget& budget) {
    LUCEBOX_TRY(File file, File::open(path));
    LUCEBOX_TRY(MappedFile mapping, MappedFile::map(file));
    auto header = parse_header(mapping.bytes(), budget);
    if (!header) return in_file(path, header.error());
    return Part{std::move(file), std::move(mapping), std::move(*header)};
}

// ---- typed reading

std::optional<std::uint64_t> as_unsigned(const Scalar& scalar) {
    if (const auto* value = std::get_if<std::uint64_t>(&scalar)) return *value;
    if (const auto* value = std::get_if<std::int64_t>(&scalar)) {
        if (*value >= 0) return static_cast<std::uint64_t>(*value);
    }
    return std::nullopt;
}

std::optional<std::int64_t> as_integer(const Scalar& scalar) {
    if (const auto* value = std::get_if<std::int64_t>(&scalar)) return *value;
    if (const auto* value = std::get_if<std::uint64_t>(&scalar)) {
        if (*value <= std::numeric_limits<std::int64_t>::max()) return static_cast<std::int64_t>(*value);
    }
    return std::nullopt;
}

std::optional<double> as_number(const Scalar& scalar) {
    if (const auto* value = std::get_if<double>(&scalar)) return *value;
    if (const auto* value = std::get_if<std::int64_t>(&scalar)) return static_cast<double>(*value);
    if (const auto* value = std::get_if<std::uint64_t>(&scalar)) return static_cast<double>(*value);
    return std::nullopt;
}

std::optional<std::vector<std::int64_t>> as_integers(const Array& array) {
    if (const auto* values = std::get_if<std::vector<std::int64_t>>(&array)) return *values;
    if (const auto* values = std::get_if<std::vector<bool>>(&array)) {
        return std::vector<std::int64_t>(values->begin(), values->end());
    }
    const auto* values = std::get_if<std::vector<std::uint64_t>>(&array);
    if (values == nullptr) return std::nullopt;
    const auto fits = [](std::uint64_t value) { return value <= std::numeric_limits<std::int64_t>::max(); };
    if (!std::all_of(values->begin(), values->end(), fits)) return std::nullopt;
    return std::vector<std::int64_t>(values->begin(), values->end());
}

std::optional<std::vector<double>> as_numbers(const Array& array) {
    if (const auto* values = std::get_if<std::vector<double>>(&array)) return *values;
    std::vector<double> out;
    const auto widen = [&](const auto& values) {
        out.reserve(values.size());
        for (const auto value : values)
            out.push_back(static_cast<double>(value));
        return out;
    };
    if (const auto* values = std::get_if<std::vector<std::int64_t>>(&array)) return widen(*values);
    if (const auto* values = std::get_if<std::vector<std::uint64_t>>(&array)) return widen(*values);
    return std::nullopt;
}

// Absent: nullopt. Present, but `convert` (Scalar or Array to optional<T>) has nothing for it: an error.
template <class Held, class T>
Result<std::optional<T>> typed(const Value* value, std::string_view key, std::string_view wanted,
                               std::optional<T> (*convert)(const Held&)) {
    if (value == nullptr) return std::optional<T>{};
    if (const auto* held = std::get_if<Held>(value)) {
        if (auto converted = convert(*held)) return converted;
    }
    return invalid(fmt::format("key {} does not hold {}", printable(key), wanted));
}

std::optional<std::uint64_t> find_unsigned(const Header& header, std::string_view key) {
    for (const Metadata& entry : header.metadata) {
        if (entry.key != key) continue;
        const auto* scalar = std::get_if<Scalar>(&entry.value);
        return scalar != nullptr ? as_unsigned(*scalar) : std::nullopt;
    }
    return std::nullopt;
}

// ---- split models

// Only ever beside the opened file: no path comes out of metadata.
std::filesystem::path part_path(const std::filesystem::path& opened, const SplitName& name, std::uint64_t index) {
    return opened.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", name.prefix, index + 1, name.count);
}

Status check_part(const Part& part, std::uint64_t index, std::uint64_t count) {
    const auto no = find_unsigned(part.header, "split.no");
    const auto said = find_unsigned(part.header, "split.count");
    if (said != count) {
        return in_file(part.file.path(), invalid(fmt::format("split.count is not {}, as in the other parts", count)));
    }
    if (no != index) return in_file(part.file.path(), invalid(fmt::format("split.no is not {}", index)));
    return Ok{};
}

Result<std::vector<Part>> open_all_parts(const std::filesystem::path& path) {
    HeaderBudget budget;
    std::vector<Part> parts;
    LUCEBOX_TRY(Part opened, open_part(path, budget));
    const std::uint64_t count = find_unsigned(opened.header, "split.count").value_or(1);
    if (count <= 1) {
        parts.push_back(std::move(opened));
        return parts;
    }
    if (count > most_parts) return in_file(path, invalid(fmt::format("split.count is {}", count)));
    const auto name = parse_split_name(path.filename().string());
    if (!name || name->count != count || name->number < 1 || name->number > count) {
        return in_file(path, invalid(fmt::format("one of {} parts, but its name does not say which", count),
                                     fmt::format("Name the parts <name>-00001-of-{:05}.gguf and so on.", count)));
    }
    for (std::uint64_t index = 0; index < count; ++index) {
        if (index + 1 == name->number) {
            parts.push_back(std::move(opened));
        } else {
            auto part = open_part(part_path(path, *name, index), budget);
            if (!part) {
                Error error = part.error();
                if (error.hint.empty()) error.hint = fmt::format("All {} parts must lie in one folder.", count);
                return error;
            }
            parts.push_back(std::move(*part));
        }
        LUCEBOX_CHECK(check_part(parts.back(), index, count));
    }
    return parts;
}

} // namespace

std::optional<SplitName> parse_split_name(const std::string& name) {
    constexpr std::string_view pattern = "-NNNNN-of-NNNNN.gguf";
    if (name.size() < pattern.size()) return std::nullopt;
    const std::size_t start = name.size() - pattern.size();
    SplitName out{name.substr(0, start)};
    bool in_count = false;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const char c = name[start + i];
        if (pattern[i] != 'N') {
            if (c != pattern[i]) return std::nullopt;
            in_count = in_count || c == 'o';
            continue;
        }
        if (c < '0' || c > '9') return std::nullopt;
        std::uint64_t& number = in_count ? out.count : out.number;
        number = number * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return out;
}

struct ModelFile::State {
    std::filesystem::path path;
    std::vector<File> files;
    std::vector<MappedFile> mappings;
    std::vector<Metadata> metadata; // keys point into the first mapping
    std::vector<std::size_t> metadata_by_key;
    std::vector<Tensor> tensors;
    std::vector<std::size_t> tensors_by_name;

    void add(Part part) {
        const auto bytes = part.mapping.bytes();
        for (const TensorInfo& info : part.header.tensors) {
            const auto start = static_cast<std::size_t>(part.header.data_start + info.offset);
            const auto data = bytes.subspan(start, static_cast<std::size_t>(info.bytes));
            tensors.push_back({std::string(info.name), info.type, info.shape, data});
        }
        if (mappings.empty()) metadata = std::move(part.header.metadata);
        files.push_back(std::move(part.file));
        mappings.push_back(std::move(part.mapping));
    }

    // Sorted rather than hashed: nobody's choice of names makes a lookup slow.
    void sort() {
        metadata_by_key.resize(metadata.size());
        tensors_by_name.resize(tensors.size());
        std::iota(metadata_by_key.begin(), metadata_by_key.end(), std::size_t{0});
        std::iota(tensors_by_name.begin(), tensors_by_name.end(), std::size_t{0});
        std::sort(metadata_by_key.begin(), metadata_by_key.end(),
                  [this](auto a, auto b) { return metadata[a].key < metadata[b].key; });
        std::sort(tensors_by_name.begin(), tensors_by_name.end(),
                  [this](auto a, auto b) { return tensors[a].name < tensors[b].name; });
    }

    const Metadata* find_metadata(std::string_view key) const {
        const auto before = [this](std::size_t index, std::string_view wanted) { return metadata[index].key < wanted; };
        const auto at = std::lower_bound(metadata_by_key.begin(), metadata_by_key.end(), key, before);
        return at != metadata_by_key.end() && metadata[*at].key == key ? &metadata[*at] : nullptr;
    }

    Status check_parts_together() const {
        const auto same = [this](auto a, auto b) { return tensors[a].name == tensors[b].name; };
        const auto twice = std::adjacent_find(tensors_by_name.begin(), tensors_by_name.end(), same);
        if (twice != tensors_by_name.end()) {
            return invalid(fmt::format("tensor {} occurs in two parts", printable(tensors[*twice].name)));
        }
        return Ok{};
    }
};

ModelFile::ModelFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
ModelFile::ModelFile(ModelFile&&) noexcept = default;
ModelFile& ModelFile::operator=(ModelFile&&) noexcept = default;
ModelFile::~ModelFile() = default;

Result<ModelFile> ModelFile::open(const std::filesystem::path& path) {
    LUCEBOX_TRY(std::vector<Part> parts, open_all_parts(path));
    auto state = std::make_unique<State>();
    state->path = path;
    for (Part& part : parts)
        state->add(std::move(part));
    state->sort();
    ModelFile model(std::move(state));
    if (parts.size() > 1) {
        if (auto status = model.state_->check_parts_together(); !status) return in_file(path, status.error());
        auto total = model.get_unsigned("split.tensors.count");
        if (!total) return in_file(path, total.error());
        if (*total && **total != model.tensors().size()) {
            return in_file(path, invalid(fmt::format("split.tensors.count is {}, but the parts hold {} tensors",
                                                     **total, model.tensors().size())));
        }
    }
    return model;
}

std::span<const Tensor> ModelFile::tensors() const {
    return state_->tensors;
}

const Tensor* ModelFile::find(std::string_view name) const {
    const auto& order = state_->tensors_by_name;
    const auto at =
        std::lower_bound(order.begin(), order.end(), name, [this](std::size_t index, std::string_view wanted) {
            return state_->tensors[index].name < wanted;
        });
    if (at == order.end() || state_->tensors[*at].name != name) return nullptr;
    return &state_->tensors[*at];
}

Status ModelFile::read(const Tensor& tensor, std::uint64_t offset, std::span<std::byte> out) const {
    if (offset > tensor.data.size() || out.size() > tensor.data.size() - offset) {
        return Error{ErrorKind::internal, fmt::format("read past the end of tensor {}", printable(tensor.name))};
    }
    for (std::size_t part = 0; part < state_->files.size(); ++part) {
        const auto mapped = state_->mappings[part].bytes();
        const std::less_equal<> not_after;
        if (!not_after(mapped.data(), tensor.data.data())) continue;
        if (!not_after(tensor.data.data() + tensor.data.size(), mapped.data() + mapped.size())) continue;
        const auto start = static_cast<std::uint64_t>(tensor.data.data() - mapped.data());
        return state_->files[part].read_at(start + offset, out);
    }
    return Error{ErrorKind::internal, fmt::format("tensor {} is of another file", printable(tensor.name))};
}

const Value* ModelFile::metadata(std::string_view key) const {
    const Metadata* entry = state_->find_metadata(key);
    return entry != nullptr ? &entry->value : nullptr;
}

std::span<const std::byte> ModelFile::encoded_metadata(std::string_view key) const {
    const Metadata* entry = state_->find_metadata(key);
    if (entry == nullptr) return {};
    return std::as_bytes(std::span(entry->encoded));
}

std::vector<std::string_view> ModelFile::keys() const {
    std::vector<std::string_view> out;
    out.reserve(state_->metadata.size());
    for (const Metadata& entry : state_->metadata)
        out.push_back(entry.key);
    return out;
}

Result<std::optional<std::uint64_t>> ModelFile::get_unsigned(std::string_view key) const {
    return typed(metadata(key), key, "an integer of 0 or more", as_unsigned);
}

Result<std::optional<std::int64_t>> ModelFile::get_integer(std::string_view key) const {
    return typed(metadata(key), key, "an integer of 64 bits", as_integer);
}

Result<std::optional<double>> ModelFile::get_number(std::string_view key) const {
    return typed(metadata(key), key, "a number", as_number);
}

Result<std::optional<bool>> ModelFile::get_bool(std::string_view key) const {
    constexpr auto convert = +[](const Scalar& scalar) {
        const auto* value = std::get_if<bool>(&scalar);
        return value != nullptr ? std::optional(*value) : std::nullopt;
    };
    return typed(metadata(key), key, "true or false", convert);
}

Result<std::optional<std::string>> ModelFile::get_string(std::string_view key) const {
    constexpr auto convert = +[](const Scalar& scalar) {
        const auto* value = std::get_if<std::string>(&scalar);
        return value != nullptr ? std::optional(*value) : std::nullopt;
    };
    return typed(metadata(key), key, "a string", convert);
}

Result<std::optional<std::vector<std::int64_t>>> ModelFile::get_integers(std::string_view key) const {
    return typed(metadata(key), key, "an array of integers", as_integers);
}

Result<std::optional<std::vector<double>>> ModelFile::get_numbers(std::string_view key) const {
    return typed(metadata(key), key, "an array of numbers", as_numbers);
}

const std::vector<std::string>* ModelFile::get_strings(std::string_view key) const {
    const auto* value = metadata(key);
    const auto* array = value != nullptr ? std::get_if<Array>(value) : nullptr;
    return array != nullptr ? std::get_if<std::vector<std::string>>(array) : nullptr;
}

std::uint64_t ModelFile::file_bytes() const {
    std::uint64_t total = 0;
    for (const File& file : state_->files)
        total += file.size();
    return total;
}

const std::filesystem::path& ModelFile::path() const {
    return state_->path;
}

} // namespace lucebox::gguf
