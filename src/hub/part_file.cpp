#include "hub/part_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace lucebox::hub {
namespace {

constexpr std::size_t hash_step = 1 << 20;

Error cannot(const char* what, const std::filesystem::path& path, int code) {
    return {ErrorKind::io, fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(code))};
}

} // namespace

PartFile::PartFile(PartFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(other.bytes_), done_(other.done_), descriptor_(std::exchange(other.descriptor_, -1)),
      write_error_(other.write_error_), hash_(other.hash_) {}

PartFile::~PartFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Result<PartFile> PartFile::open(const std::filesystem::path& path, std::uint64_t bytes, const FetchProgress& progress) {
    PartFile part(path, bytes);
    part.descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct stat info {};
    if (part.descriptor_ < 0 || ::fstat(part.descriptor_, &info) != 0) return cannot("write", path, errno);
    part.done_ = static_cast<std::uint64_t>(info.st_size);
    if (part.done_ > bytes && !part.restart()) return cannot("write", path, part.write_error_);
    LUCEBOX_CHECK(part.hash_what_is_there(progress));
    return part;
}

Status PartFile::hash_what_is_there(const FetchProgress& progress) {
    std::vector<std::byte> buffer(std::min<std::uint64_t>(hash_step, done_));
    for (std::uint64_t at = 0; at < done_;) {
        const auto count = ::pread(descriptor_, buffer.data(), std::min<std::uint64_t>(buffer.size(), done_ - at), static_cast<off_t>(at));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return cannot("read", path_, errno);
        if (count == 0) done_ = at; // somebody made it shorter
        hash_.update({buffer.data(), static_cast<std::size_t>(count)});
        at += static_cast<std::uint64_t>(count);
        if (progress && !progress(at)) return Error{ErrorKind::cancelled, "the download was stopped", "what is there is kept; the next start continues it"};
    }
    return Ok{};
}

bool PartFile::append(std::span<const std::byte> data) {
    for (std::size_t at = 0; at < data.size();) {
        const auto count = ::pwrite(descriptor_, data.data() + at, data.size() - at, static_cast<off_t>(done_));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            write_error_ = errno;
            return false;
        }
        hash_.update(data.subspan(at, static_cast<std::size_t>(count)));
        at += static_cast<std::size_t>(count);
        done_ += static_cast<std::uint64_t>(count);
    }
    return true;
}

bool PartFile::restart() {
    done_ = 0;
    hash_ = Sha256();
    if (::ftruncate(descriptor_, 0) == 0) return true;
    write_error_ = errno;
    return false;
}

Result<Sha256Digest> PartFile::finish() {
    if (::fsync(descriptor_) != 0) return cannot("write", path_, errno);
    return hash_.finish();
}

} // namespace lucebox::hub
