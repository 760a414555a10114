#include "hub/hugging_face.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/terminal.h"
#include "hub/fetch.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

namespace lucebox::hub {
namespace {

namespace fs = std::filesystem;

constexpr int most_redirects = 5;
constexpr int most_addresses = 20; // of one file: signed ones expire, and a long download outlives several
constexpr std::uint64_t spare_bytes = 64 << 20;

std::uint64_t size_of(const fs::path& path) {
    std::error_code error;
    const auto size = fs::file_size(path, error);
    return error ? 0 : size;
}

fs::path with_suffix(fs::path path, const char* suffix) { return path += suffix; }
fs::path file_of(const HubFile& file, const fs::path& folder) { return folder / fs::path(file.path).filename(); }

// "https://host:port"
std::string_view origin_of(std::string_view url) {
    const auto scheme = url.find("://");
    if (scheme == std::string_view::npos) return {};
    return url.substr(0, url.find_first_of("/?#", scheme + 3));
}

bool is_sha256(std::string_view text) {
    return text.size() == 64 && std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string header(const HeadAnswer& answer, const char* name) {
    const auto found = answer.headers.find(name);
    return found == answer.headers.end() ? std::string() : found->second;
}

// An entity tag: quoted, perhaps weak.
std::string_view unquoted(std::string_view tag) {
    if (tag.starts_with("W/")) tag.remove_prefix(2);
    if (tag.size() >= 2 && tag.front() == '"' && tag.back() == '"') tag = tag.substr(1, tag.size() - 2);
    return tag;
}

std::uint64_t number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size() ? value : 0;
}

std::string shown(const HubFile& file) { return fmt::format("{} of {} at {}", file.path, file.repository, file.revision); }

Error refused(const HubFile& file, long status, const HubSettings& settings) {
    if (status == 401 || status == 403) {
        return {ErrorKind::unavailable, fmt::format("{} does not give {} ({})", without_credentials(settings.hf_endpoint), shown(file), status),
                settings.hf_token.empty() ? "accept its licence on its page, then set HF_TOKEN to a token of yours that may read it"
                                          : "the token in HF_TOKEN may not read it: accept the licence on its page with the same account"};
    }
    if (status == 404) {
        return {ErrorKind::not_found, fmt::format("{} has no {}", without_credentials(settings.hf_endpoint), shown(file)),
                "it may have been renamed or withdrawn: download it from where it is now and use `lucebox models import FILE`"};
    }
    return {ErrorKind::unavailable, fmt::format("{} answered {} for {}", without_credentials(settings.hf_endpoint), status, shown(file)), "try again later"};
}

Status check_redirect(std::string_view url, const HubSettings& settings) {
    if (settings.allow_local_redirects || url.starts_with("https://")) return Ok{};
    return Error{ErrorKind::unavailable, fmt::format("{} leads to {}, which is not HTTPS", without_credentials(settings.hf_endpoint), without_credentials(url)),
                 "use another HF_ENDPOINT; for a mirror of your own: LUCEBOX_ALLOW_LOCAL_REDIRECTS=1"};
}

RequestRules rules_for(bool same_server, const HubSettings& settings) {
    RequestRules rules;
    rules.redirects = false;
    if (same_server) rules.token = settings.hf_token;
    rules.public_only = !same_server && !settings.allow_local_redirects;
    return rules;
}

Status check_space(const std::vector<HubFile>& files, const std::vector<HubLocation>& locations, const fs::path& folder) {
    std::uint64_t needed = spare_bytes;
    for (const HubLocation& location : locations) needed += location.bytes;
    needed -= std::min(needed, fetched_bytes(files, folder));
    std::error_code error;
    const auto space = fs::space(folder, error);
    if (error || space.available >= needed) return Ok{};
    return Error{ErrorKind::io, fmt::format("{} more are needed in {}, where {} are free", human_bytes(needed), folder.string(), human_bytes(space.available)),
                 "make room, or set LUCEBOX_CACHE to a folder on a larger disk"};
}

// The hash of what arrived.
Result<Sha256Digest> fetch_part(const HubFile& file, HubLocation location, const fs::path& path, const HubSettings& settings, const Progress& progress) {
    const std::string name = fs::path(file.path).filename().string(), fetching = fmt::format("fetching {}", name), checking = fmt::format("checking {}", name);
    const auto show = [&](const std::string& label) {
        return [&progress, &label, total = location.bytes](std::uint64_t done) { return !progress.update || progress.update(label, done, total); };
    };
    LUCEBOX_TRY(PartFile part, PartFile::open(path, location.bytes, show(checking)));
    for (int address = 1; !part.complete(); ++address) {
        const std::uint64_t before = part.done();
        const Status fetched = fetch_file(settings, location.url, part, show(fetching), rules_for(location.same_server, settings));
        if (fetched) break;
        if (fetched.error().kind != ErrorKind::unavailable || part.done() <= before || address == most_addresses) return fetched.error();
        // The address worked and does no more: ask for a new one.
        LUCEBOX_TRY(location, locate(file, settings));
        if (location.bytes != part.bytes()) return Error{ErrorKind::invalid_data, fmt::format("{} changed while it was fetched", shown(file)), "start again"};
    }
    return part.finish();
}

Status check_hash(const HubFile& file, const HubLocation& location, const fs::path& part, const Sha256Digest& digest, const Progress& progress, SourceNote& note) {
    const std::string name = fs::path(file.path).filename().string();
    note.sha256 = hex(digest);
    const std::string& wanted = !file.sha256.empty() ? file.sha256 : location.sha256;
    note.checked = !wanted.empty();
    if (note.checked && note.sha256 != wanted) {
        std::error_code ignored;
        fs::remove(part, ignored);
        return Error{ErrorKind::invalid_data, fmt::format("{} has the SHA-256 {} instead of {}; it was deleted", name, note.sha256, wanted),
                     "the endpoint or a proxy served another file: try again"};
    }
    if (progress.say) {
        progress.say(!file.sha256.empty() ? fmt::format("{} is the file that this program knows", name)
                     : note.checked       ? fmt::format("{} has the SHA-256 that {} states: {}", name, location.same_server ? "the server" : "the endpoint", note.sha256)
                                          : fmt::format("{}: its SHA-256 is not known, so it could not be checked; it is {}", name, note.sha256));
    }
    return Ok{};
}

Status fetch_one(const HubFile& file, const HubLocation& location, const fs::path& folder, const HubSettings& settings, const Progress& progress) {
    const fs::path complete = file_of(file, folder), part = with_suffix(complete, ".part");
    LUCEBOX_TRY(const Sha256Digest digest, fetch_part(file, location, part, settings, progress));
    SourceNote note{file.repository, file.revision, location.commit, {}, false, file.path, location.bytes};
    LUCEBOX_CHECK(check_hash(file, location, part, digest, progress, note));
    LUCEBOX_CHECK(leave_note(complete, note));
    std::error_code error;
    fs::rename(part, complete, error);
    if (error) return Error{ErrorKind::io, fmt::format("cannot rename {}: {}", part.string(), error.message())};
    return Ok{};
}

} // namespace

std::vector<HubFile> parts_of(const RepositoryFile& file) {
    const HubFile first{std::string(file.repository), std::string(file.revision), std::string(file.path), file.bytes, std::string(file.sha256)};
    constexpr std::string_view ending = ".gguf", of = "-of-";
    constexpr std::size_t digits = 5, tail = 1 + digits + of.size() + digits + ending.size(); // "-00001-of-00003.gguf"
    const std::string_view path = first.path;
    if (path.size() <= tail || !path.ends_with(ending)) return {first};
    const std::string_view numbers = path.substr(path.size() - tail);
    const std::uint64_t count = number(numbers.substr(1 + digits + of.size(), digits));
    if (numbers[0] != '-' || numbers.substr(1 + digits, of.size()) != of || number(numbers.substr(1, digits)) != 1 || count < 2) return {first};
    std::vector<HubFile> parts;
    for (std::uint64_t i = 1; i <= count; ++i) {
        parts.push_back(first);
        parts.back().path = fmt::format("{}-{:05}-of-{:05}.gguf", path.substr(0, path.size() - tail), i, count);
        if (i > 1) {
            parts.back().bytes = 0; // those of the first part
            parts.back().sha256.clear();
        }
    }
    return parts;
}

Result<HubLocation> locate(const HubFile& file, const HubSettings& settings) {
    const std::string start = fmt::format("{}/{}/resolve/{}/{}", settings.hf_endpoint, file.repository, file.revision, file.path);
    HubLocation location{start, true, 0, {}, {}};
    for (int hop = 0; hop <= most_redirects; ++hop) {
        LUCEBOX_TRY(const HeadAnswer answer, fetch_head(settings, location.url, rules_for(location.same_server, settings)));
        // The endpoint knows the file; where it is kept only sends it.
        if (location.same_server) {
            if (const auto bytes = number(header(answer, "x-linked-size")); bytes != 0) location.bytes = bytes;
            if (const auto commit = header(answer, "x-repo-commit"); !commit.empty()) location.commit = commit;
            for (const char* name : {"x-linked-etag", "etag"}) {
                const std::string tag = header(answer, name);
                if (location.sha256.empty() && is_sha256(unquoted(tag))) location.sha256 = unquoted(tag);
            }
        }
        if (answer.status >= 300 && answer.status < 400 && !answer.location.empty()) {
            LUCEBOX_CHECK(location.same_server && origin_of(answer.location) == origin_of(start) ? Status(Ok{}) : check_redirect(answer.location, settings));
            location.same_server = location.same_server && origin_of(answer.location) == origin_of(start);
            location.url = answer.location;
            continue;
        }
        if (answer.status != 200) return refused(file, answer.status, settings);
        if (location.bytes == 0) location.bytes = number(header(answer, "content-length"));
        if (location.bytes == 0) return Error{ErrorKind::unavailable, fmt::format("the server does not say how large {} is", shown(file)), "use another HF_ENDPOINT"};
        if (file.bytes != 0 && location.bytes != file.bytes) {
            return Error{ErrorKind::invalid_data, fmt::format("{} has {} bytes on the server instead of {}", shown(file), location.bytes, file.bytes), "use another HF_ENDPOINT"};
        }
        return location;
    }
    return Error{ErrorKind::unavailable, fmt::format("{} leads on and on", without_credentials(start)), "use another HF_ENDPOINT"};
}

std::uint64_t fetched_bytes(const std::vector<HubFile>& files, const fs::path& folder) {
    std::uint64_t total = 0;
    for (const HubFile& file : files) {
        const fs::path complete = file_of(file, folder);
        total += std::max(size_of(complete), size_of(with_suffix(complete, ".part")));
    }
    return total;
}

Status fetch_from_hub(const std::vector<HubFile>& files, const fs::path& folder, const HubSettings& settings, const Progress& progress) {
    std::error_code error;
    fs::create_directories(folder, error);
    std::vector<HubFile> missing;
    std::vector<HubLocation> locations;
    for (const HubFile& file : files) {
        if (fs::exists(file_of(file, folder), error)) continue;
        LUCEBOX_TRY(HubLocation location, locate(file, settings));
        missing.push_back(file);
        locations.push_back(std::move(location));
    }
    LUCEBOX_CHECK(check_space(missing, locations, folder));
    for (std::size_t i = 0; i < missing.size(); ++i) LUCEBOX_CHECK(fetch_one(missing[i], locations[i], folder, settings, progress));
    return Ok{};
}

fs::path source_note_path(const fs::path& file) { return with_suffix(file, ".source.json"); }

Status leave_note(const fs::path& file, const SourceNote& note) {
    const nlohmann::ordered_json json{{"repository", note.repository}, {"revision", note.revision}, {"path", note.path},
                                      {"commit", note.commit.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(note.commit)},
                                      {"bytes", note.bytes},           {"sha256", note.sha256},     {"checked", note.checked}};
    const std::string text = json.dump(2) + "\n";
    return write_file_atomically(source_note_path(file), std::as_bytes(std::span(text)));
}

std::optional<SourceNote> source_note(const fs::path& file) {
    const auto text = read_text_file(source_note_path(file), 1 << 16);
    if (!text) return std::nullopt;
    const auto json = nlohmann::json::parse(*text, nullptr, false);
    if (!json.is_object()) return std::nullopt;
    const auto field = [&](const char* name) { return json.contains(name) && json[name].is_string() ? json[name].get<std::string>() : std::string(); };
    return SourceNote{field("repository"), field("revision"), field("commit"), field("sha256"), json.contains("checked") && json["checked"] == true, field("path"), 0};
}

} // namespace lucebox::hub
