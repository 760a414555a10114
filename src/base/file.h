// Files as the rest of the program sees them: opened read-only, sized once, mapped or read at an offset.
//
// MappedFile owns a private read-only mapping. Reading a mapping of a file that another process truncates raises
// SIGBUS, so untrusted or changing files go through File::read_at, which reports a short read as an error.
// Both are movable, not copyable, and may be used from any thread once open.
#pragma once

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace lucebox {

class File {
public:
    static Result<File> open(const std::filesystem::path& path);

    File(File&& other) noexcept;
    File& operator=(File&& other) noexcept;
    ~File();

    std::uint64_t size() const { return size_; } // bytes
    const std::filesystem::path& path() const { return path_; }
    int descriptor() const { return descriptor_; }

    // Fills `out` from `offset` bytes on; a file that ends before that is an error.
    Status read_at(std::uint64_t offset, std::span<std::byte> out) const;

private:
    File() = default;
    int descriptor_ = -1;
    std::uint64_t size_ = 0;
    std::filesystem::path path_;
};

class MappedFile {
public:
    static Result<MappedFile> map(const File& file);

    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    ~MappedFile();

    std::span<const std::byte> bytes() const { return {data_, size_}; }

private:
    MappedFile() = default;
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

// The whole of a small text file; refuses more than `limit` bytes.
Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t limit = 16u << 20);

// A file that appears whole or not at all: written under a temporary name beside `path`, flushed and renamed by commit(),
// removed if that is never reached. Permissions of an earlier file stay (else those of `like`, if that is there);
// through a link the file behind it is replaced.
class AtomicFile {
public:
    static Result<AtomicFile> create(const std::filesystem::path& path, const std::filesystem::path& like = {});

    AtomicFile(AtomicFile&& other) noexcept;
    AtomicFile& operator=(AtomicFile&& other) noexcept;
    ~AtomicFile();

    Status write(std::span<const std::byte> content);
    Status commit(); // once, last

private:
    AtomicFile() = default;
    int descriptor_ = -1;
    std::filesystem::path path_, temporary_;
};

// The same, for content that is at hand.
Status write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content, const std::filesystem::path& like = {});

} // namespace lucebox
