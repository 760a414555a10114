#include "base/file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace lucebox {
namespace {

Error system_error(const char* action, const std::filesystem::path& path) {
    const int code = errno;
    const auto kind = code == ENOENT || code == ENOTDIR ? ErrorKind::not_found : ErrorKind::io;
    return {kind, fmt::format("cannot {} {}: {}", action, path.string(), std::strerror(code))};
}

} // namespace

Result<File> File::open(const std::filesystem::path& path) {
    File file;
    file.path_ = path;
    file.descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file.descriptor_ < 0) return system_error("open", path);
    struct stat info {};
    if (::fstat(file.descriptor_, &info) != 0) return system_error("stat", path);
    if (!S_ISREG(info.st_mode)) return Error{ErrorKind::io, fmt::format("{} is not a regular file", path.string())};
    file.size_ = static_cast<std::uint64_t>(info.st_size);
    return file;
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(size_, other.size_);
    std::swap(path_, other.path_);
    return *this;
}

File::~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Status File::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
        const auto count = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_error("read", path_);
        if (count == 0) return Error{ErrorKind::io, fmt::format("{} ends early at byte {}", path_.string(), offset)};
        offset += static_cast<std::uint64_t>(count);
        out = out.subspan(static_cast<std::size_t>(count));
    }
    return Ok{};
}

Result<MappedFile> MappedFile::map(const File& file) {
    MappedFile mapped;
    mapped.size_ = static_cast<std::size_t>(file.size());
    if (mapped.size_ == 0) return mapped;
    void* data = ::mmap(nullptr, mapped.size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
    if (data == MAP_FAILED) return system_error("map", file.path());
    mapped.data_ = static_cast<const std::byte*>(data);
    return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t limit) {
    LUCEBOX_TRY(const File file, File::open(path));
    if (file.size() > limit) {
        return Error{ErrorKind::invalid_data,
                     fmt::format("{} has {} bytes, more than the {} allowed here", path.string(), file.size(), limit)};
    }
    std::string text(static_cast<std::size_t>(file.size()), '\0');
    LUCEBOX_CHECK(file.read_at(0, std::as_writable_bytes(std::span(text))));
    return text;
}

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path, const std::filesystem::path& like) {
    AtomicFile file;
    std::error_code error;
    // A link stays one (people keep their settings elsewhere): the file it leads to is what is replaced.
    file.path_ = std::filesystem::is_symlink(path, error) ? std::filesystem::weakly_canonical(path, error) : path;
    if (error) file.path_ = path;
    file.temporary_ = file.path_;
    file.temporary_ += fmt::format(".tmp-{}", ::getpid());
    file.descriptor_ = ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file.descriptor_ < 0) return system_error("create", file.temporary_);
    // Who may read it stays as it was: it may hold a key.
    struct stat before {};
    const bool known = ::stat(file.path_.c_str(), &before) == 0 || (!like.empty() && ::stat(like.c_str(), &before) == 0);
    if (known && ::fchmod(file.descriptor_, before.st_mode & 07777) != 0) return system_error("set the permissions of", file.temporary_);
    return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
    std::swap(temporary_, other.temporary_);
    return *this;
}

AtomicFile::~AtomicFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
}

Status AtomicFile::write(std::span<const std::byte> content) {
    while (!content.empty()) {
        const auto count = ::write(descriptor_, content.data(), content.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_error("write", temporary_);
        content = content.subspan(static_cast<std::size_t>(count));
    }
    return Ok{};
}

Status AtomicFile::commit() {
    if (::fsync(descriptor_) != 0) return system_error("flush", temporary_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) return system_error("rename", temporary_);
    ::close(std::exchange(descriptor_, -1));
    return Ok{};
}

Status write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content, const std::filesystem::path& like) {
    LUCEBOX_TRY(AtomicFile file, AtomicFile::create(path, like));
    LUCEBOX_CHECK(file.write(content));
    return file.commit();
}

} // namespace lucebox
