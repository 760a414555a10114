// A file that arrives: written from its beginning on, hashed on the way, so that nothing is read again at its end. What is
// there of an earlier try is hashed once, when it is opened.
//
// One thread at a time.
#pragma once

#include "base/hash.h"
#include "base/result.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

namespace lucebox::hub {

// Told the bytes present so far; false stops.
using FetchProgress = std::function<bool(std::uint64_t done)>;

class PartFile {
public:
    // `bytes`: of the whole file; a longer one at `path` is of another file, and begins anew. `progress` is of hashing what is there.
    static Result<PartFile> open(const std::filesystem::path& path, std::uint64_t bytes, const FetchProgress& progress);
    PartFile(PartFile&& other) noexcept;
    PartFile& operator=(PartFile&&) = delete;
    ~PartFile();

    const std::filesystem::path& path() const { return path_; }
    std::uint64_t done() const { return done_; }
    std::uint64_t bytes() const { return bytes_; }
    bool complete() const { return done_ == bytes_; }

    // Of no more than is missing. False: the disk refused, and write_error() is its errno.
    bool append(std::span<const std::byte> data);
    bool restart(); // forgets what is there
    int write_error() const { return write_error_; }

    // Of a complete file, which is then safe on the disk: its hash.
    Result<Sha256Digest> finish();

private:
    PartFile(std::filesystem::path path, std::uint64_t bytes) : path_(std::move(path)), bytes_(bytes) {}
    Status hash_what_is_there(const FetchProgress& progress);

    std::filesystem::path path_;
    std::uint64_t bytes_ = 0, done_ = 0;
    int descriptor_ = -1;
    int write_error_ = 0;
    Sha256 hash_;
};

} // namespace lucebox::hub
