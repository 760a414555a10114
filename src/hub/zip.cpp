#include "hub/zip.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <vector>
#include <zlib.h>

namespace lucebox::hub {
namespace {

constexpr std::size_t block_bytes = 256 << 10;

// Sizes of the fixed parts of the records, and their first four bytes.
constexpr std::size_t end_bytes = 22, entry_bytes = 46, local_bytes = 30;
constexpr std::uint32_t end_mark = 0x06054b50, entry_mark = 0x02014b50, local_mark = 0x04034b50;
constexpr std::size_t longest_comment = 65535;

std::uint32_t read_number(std::span<const std::byte> bytes, std::size_t offset, std::size_t size) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
        value |= static_cast<std::uint32_t>(bytes[offset + i]) << (8 * i);
    return value;
}

struct Entry {
    std::uint32_t flags = 0, method = 0, crc = 0, compressed = 0, size = 0, local_offset = 0;
};

Error broken(const File& archive, std::string_view what) {
    return {ErrorKind::invalid_data, fmt::format("{} is not a sound ZIP archive: {}", archive.path().string(), what)};
}

Result<std::vector<std::byte>> read_directory(const File& archive) {
    const std::uint64_t tail_size = std::min<std::uint64_t>(archive.size(), end_bytes + longest_comment);
    if (tail_size < end_bytes) return broken(archive, "it is too short");
    std::vector<std::byte> tail(static_cast<std::size_t>(tail_size));
    LUCEBOX_CHECK(archive.read_at(archive.size() - tail_size, tail));
    for (std::size_t at = tail.size() - end_bytes + 1; at-- > 0;) {
        if (read_number(tail, at, 4) != end_mark) continue;
        const std::uint64_t size = read_number(tail, at + 12, 4), offset = read_number(tail, at + 16, 4);
        if (offset + size > archive.size()) continue; // the mark's bytes may also occur in a comment
        std::vector<std::byte> directory(static_cast<std::size_t>(size));
        LUCEBOX_CHECK(archive.read_at(offset, directory));
        return directory;
    }
    return broken(archive, "its directory is missing");
}

Result<Entry> find_entry(const File& archive, std::string_view member) {
    LUCEBOX_TRY(const std::vector<std::byte> directory, read_directory(archive));
    for (std::span<const std::byte> rest(directory); rest.size() >= entry_bytes;) {
        if (read_number(rest, 0, 4) != entry_mark) return broken(archive, "its directory is damaged");
        const std::size_t name_size = read_number(rest, 28, 2);
        const std::size_t whole = entry_bytes + name_size + read_number(rest, 30, 2) + read_number(rest, 32, 2);
        if (whole > rest.size()) return broken(archive, "its directory is damaged");
        const std::string_view name(reinterpret_cast<const char*>(rest.data()) + entry_bytes, name_size);
        if (name == member) {
            return Entry{read_number(rest, 8, 2),  read_number(rest, 10, 2), read_number(rest, 16, 4),
                         read_number(rest, 20, 4), read_number(rest, 24, 4), read_number(rest, 42, 4)};
        }
        rest = rest.subspan(whole);
    }
    return Error{ErrorKind::not_found, fmt::format("{} has no member {}", archive.path().string(), member)};
}

// Where the member's data begin: behind its local header, whose name and extra field may differ from the directory's.
Result<std::uint64_t> data_offset(const File& archive, const Entry& entry) {
    std::vector<std::byte> local(local_bytes);
    if (entry.local_offset + std::uint64_t{local_bytes} > archive.size()) return broken(archive, "a member is outside");
    LUCEBOX_CHECK(archive.read_at(entry.local_offset, local));
    if (read_number(local, 0, 4) != local_mark) return broken(archive, "a member's header is damaged");
    const std::uint64_t offset =
        std::uint64_t{entry.local_offset} + local_bytes + read_number(local, 26, 2) + read_number(local, 28, 2);
    if (offset + entry.compressed > archive.size()) return broken(archive, "a member reaches past the end");
    return offset;
}

// Passes bytes on while counting and checking them.
class CheckedSink {
public:
    CheckedSink(const File& archive, const Entry& entry, const ByteSink& sink)
        : archive_(archive), entry_(entry), sink_(sink) {}

    Status take(std::span<const std::byte> bytes) {
        count_ += bytes.size();
        if (count_ > entry_.size) return broken(archive_, "a member is longer than announced");
        crc_ = ::crc32_z(crc_, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
        return sink_(bytes);
    }
    Status finish() const {
        if (count_ != entry_.size) return broken(archive_, "a member is shorter than announced");
        if (crc_ != entry_.crc) return broken(archive_, "a member's checksum is wrong");
        return Ok{};
    }

private:
    const File& archive_;
    const Entry& entry_;
    const ByteSink& sink_;
    std::uint64_t count_ = 0;
    uLong crc_ = 0;
};

// Calls `use` with the compressed bytes, block by block.
template <class Use>
Status for_each_block(const File& archive, std::uint64_t offset, std::uint64_t size, Use use) {
    std::vector<std::byte> block(block_bytes);
    while (size != 0) {
        const auto part = std::span(block).first(static_cast<std::size_t>(std::min<std::uint64_t>(size, block_bytes)));
        LUCEBOX_CHECK(archive.read_at(offset, part));
        LUCEBOX_CHECK(use(std::span<const std::byte>(part)));
        offset += part.size();
        size -= part.size();
    }
    return Ok{};
}

struct Inflater {
    Inflater() { ready = ::inflateInit2(&stream, -MAX_WBITS) == Z_OK; } // negative: bare deflate, no zlib header
    ~Inflater() {
        if (ready) ::inflateEnd(&stream);
    }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;
    z_stream stream{};
    bool ready = false;
    bool ended = false;
};

Status inflate_block(const File& archive, Inflater& inflater, std::span<const std::byte> input,
                     std::vector<std::byte>& output, CheckedSink& sink) {
    auto& stream = inflater.stream;
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(input.data()));
    stream.avail_in = static_cast<uInt>(input.size());
    while (!inflater.ended && (stream.avail_in != 0 || stream.avail_out == 0)) {
        stream.next_out = reinterpret_cast<Bytef*>(output.data());
        stream.avail_out = static_cast<uInt>(output.size());
        const int code = ::inflate(&stream, Z_NO_FLUSH);
        if (code == Z_BUF_ERROR) return Ok{}; // wants more input
        if (code != Z_OK && code != Z_STREAM_END) return broken(archive, "a member's compression is damaged");
        inflater.ended = code == Z_STREAM_END;
        LUCEBOX_CHECK(sink.take(std::span(output).first(output.size() - stream.avail_out)));
    }
    return Ok{};
}

} // namespace

Status extract_zip_member(const File& archive, std::string_view member, const ByteSink& sink) {
    LUCEBOX_TRY(const Entry entry, find_entry(archive, member));
    if ((entry.flags & 1) != 0) return broken(archive, "the member is encrypted");
    if (entry.size == 0xffffffff || entry.compressed == 0xffffffff || entry.local_offset == 0xffffffff) {
        return Error{ErrorKind::unsupported,
                     fmt::format("{}: members of 4 GiB are not supported", archive.path().string())};
    }
    LUCEBOX_TRY(const std::uint64_t offset, data_offset(archive, entry));
    CheckedSink checked(archive, entry, sink);
    if (entry.method == 0) {
        LUCEBOX_CHECK(
            for_each_block(archive, offset, entry.compressed, [&](auto block) { return checked.take(block); }));
    } else if (entry.method == 8) {
        Inflater inflater;
        if (!inflater.ready) return Error{ErrorKind::out_of_memory, "cannot start decompressing"};
        std::vector<std::byte> output(block_bytes);
        LUCEBOX_CHECK(for_each_block(archive, offset, entry.compressed, [&](auto block) {
            return inflate_block(archive, inflater, block, output, checked);
        }));
    } else {
        return Error{ErrorKind::unsupported,
                     fmt::format("{}: compression method {} is not supported", archive.path().string(), entry.method)};
    }
    return checked.finish();
}

} // namespace lucebox::hub
