#include "gguf/writer.h"

#include "gguf/byte_reader.h"
#include "gguf/header.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace lucebox::gguf {
namespace {

constexpr std::uint64_t alignment = default_alignment;
constexpr std::size_t buffer_bytes = 1u << 20; // few system calls, and small beside any tensor
constexpr std::size_t longest_name = 63;       // other readers refuse more
constexpr std::uint32_t string_type = 8;
constexpr std::uint32_t array_type = 9;

template <class T>
void append_number(std::string& out, T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_string(std::string& out, std::string_view text) {
    append_number(out, std::uint64_t{text.size()});
    out += text;
}

std::uint64_t padding(std::uint64_t size) {
    return (alignment - size % alignment) % alignment;
}

std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::uint32_t dimensions(const Shape& shape) {
    std::uint32_t count = 4;
    while (count > 1 && shape[count - 1] == 1)
        --count;
    return count;
}

} // namespace

ModelWriter::~ModelWriter() {
    discard();
}

// ---- metadata

void ModelWriter::set_encoded(std::string_view key, std::span<const std::byte> type_and_value) {
    const auto same = [&](const Key& entry) { return entry.name == key; };
    const auto found = std::find_if(keys_.begin(), keys_.end(), same);
    Key& entry = found != keys_.end() ? *found : keys_.emplace_back(Key{std::string(key), {}});
    entry.encoded = as_text(type_and_value);
}

void ModelWriter::set_raw(std::string_view key, std::uint32_t type, std::span<const std::byte> value) {
    std::string encoded;
    append_number(encoded, type);
    encoded += as_text(value);
    set_encoded(key, std::as_bytes(std::span(encoded)));
}

void ModelWriter::set_raw_array(std::string_view key, std::uint32_t type, std::uint64_t count,
                                std::span<const std::byte> values) {
    std::string encoded;
    append_number(encoded, type);
    append_number(encoded, count);
    encoded += as_text(values);
    set_raw(key, array_type, std::as_bytes(std::span(encoded)));
}

void ModelWriter::set(std::string_view key, std::string_view value) {
    std::string encoded;
    append_string(encoded, value);
    set_raw(key, string_type, std::as_bytes(std::span(encoded)));
}

void ModelWriter::set(std::string_view key, std::span<const std::string> values) {
    std::string encoded;
    for (const std::string& value : values)
        append_string(encoded, value);
    set_raw_array(key, string_type, values.size(), std::as_bytes(std::span(encoded)));
}

// ---- tensors

Status ModelWriter::add_tensor(std::string_view name, TensorType type, const Shape& shape) {
    if (name.empty() || name.size() > longest_name) {
        return Error{ErrorKind::invalid_data, fmt::format("{} cannot name a tensor", printable(name))};
    }
    if (!names_.emplace(name).second) {
        return Error{ErrorKind::invalid_data, fmt::format("tensor {} occurs twice", printable(name))};
    }
    TensorInfo info{name, type, shape};
    LUCEBOX_TRY(info.bytes, tensor_bytes(info));
    tensors_.push_back({std::string(name), type, shape, info.bytes});
    return Ok{};
}

std::string ModelWriter::build_header() const {
    std::string out = "GGUF";
    append_number(out, std::uint32_t{3});
    append_number(out, std::uint64_t{tensors_.size()});
    append_number(out, std::uint64_t{keys_.size()});
    for (const Key& key : keys_) {
        append_string(out, key.name);
        out += key.encoded;
    }
    std::uint64_t offset = 0;
    for (const Described& tensor : tensors_) {
        append_string(out, tensor.name);
        const std::uint32_t count = dimensions(tensor.shape);
        append_number(out, count);
        for (std::uint32_t i = 0; i < count; ++i)
            append_number(out, tensor.shape[i]);
        append_number(out, static_cast<std::uint32_t>(tensor.type));
        append_number(out, offset);
        offset += tensor.bytes + padding(tensor.bytes);
    }
    out.append(static_cast<std::size_t>(padding(out.size())), '\0');
    return out;
}

// ---- the file

Status ModelWriter::begin(const std::filesystem::path& target) {
    static std::atomic<unsigned> serial{0};
    target_ = target;
    temporary_ = target;
    temporary_ += fmt::format(".tmp-{}-{}", ::getpid(), serial.fetch_add(1));
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor_ < 0) return failed("create");
    const std::string header = build_header();
    std::uint64_t total = header.size();
    for (const Described& tensor : tensors_)
        total += tensor.bytes + padding(tensor.bytes);
    // A file system that cannot reserve is no reason to stop; one that is too full is.
    const int reserved = ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(total));
    if (reserved != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
        return failed(fmt::format("reserve {} bytes for", total).c_str());
    }
    buffer_.reserve(buffer_bytes);
    return append(std::as_bytes(std::span(header)));
}

Status ModelWriter::write(std::span<const std::byte> data) {
    while (!data.empty()) {
        if (descriptor_ < 0 || current_ == tensors_.size()) {
            return Error{ErrorKind::internal, fmt::format("more data than tensors for {}", target_.string())};
        }
        const std::uint64_t missing = tensors_[current_].bytes - current_written_;
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(missing, data.size()));
        LUCEBOX_CHECK(append(data.first(count)));
        data = data.subspan(count);
        current_written_ += count;
        if (count == missing) LUCEBOX_CHECK(pad());
    }
    return Ok{};
}

// Ends the current tensor.
Status ModelWriter::pad() {
    constexpr std::byte zeros[alignment] = {};
    const std::uint64_t count = padding(current_written_);
    ++current_;
    current_written_ = 0;
    return append(std::span(zeros).first(static_cast<std::size_t>(count)));
}

Status ModelWriter::append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const std::size_t count = std::min(bytes.size(), buffer_bytes - buffer_.size());
        buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
        bytes = bytes.subspan(count);
        if (buffer_.size() == buffer_bytes) LUCEBOX_CHECK(flush());
    }
    return Ok{};
}

Status ModelWriter::flush() {
    std::span<const std::byte> rest = buffer_;
    while (!rest.empty()) {
        const auto count = ::write(descriptor_, rest.data(), rest.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return failed("write");
        rest = rest.subspan(static_cast<std::size_t>(count));
    }
    buffer_.clear();
    return Ok{};
}

Status ModelWriter::finish() {
    if (descriptor_ < 0 || current_ != tensors_.size()) {
        discard();
        return Error{ErrorKind::internal, fmt::format("{} was not written to its end", target_.string())};
    }
    LUCEBOX_CHECK(flush());
    if (::fsync(descriptor_) != 0) return failed("flush");
    const int closed = ::close(std::exchange(descriptor_, -1));
    if (closed != 0 || ::rename(temporary_.c_str(), target_.c_str()) != 0) return failed("put in place");
    temporary_.clear();
    return Ok{};
}

Error ModelWriter::failed(const char* action) {
    const int code = errno;
    Error error{ErrorKind::io, fmt::format("cannot {} {}: {}", action, target_.string(), std::strerror(code))};
    if (code == ENOSPC || code == EDQUOT) error.hint = "Free space on that disk, or write to another.";
    discard();
    return error;
}

void ModelWriter::discard() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
}

} // namespace lucebox::gguf
