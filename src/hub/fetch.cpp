#include "hub/fetch.h"

#include "base/ascii.h"
#include "base/log.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace lucebox::hub {
namespace {

constexpr long connect_timeout_ms = 15000;
constexpr long most_redirects = 5;
constexpr std::string_view way_out = "check the network or the package index, or give a model file with --model FILE";

struct CurlDeleter {
    void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using CurlHandle = std::unique_ptr<CURL, CurlDeleter>;

// Asked for the address that a name was resolved to, so that no name leads inside.
curl_socket_t open_public_socket(void*, curlsocktype, curl_sockaddr* address) {
    if (!is_public_address(address->addr)) return CURL_SOCKET_BAD;
    return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

Result<CurlHandle> new_handle(const HubSettings& settings, const std::string& url, const RequestRules& rules = {}) {
    static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
    CurlHandle handle(started == CURLE_OK ? curl_easy_init() : nullptr);
    if (!handle) return Error{ErrorKind::internal, "cannot start the download library"};
    CURL* curl = handle.get();
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, rules.redirects ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, most_redirects);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, url.starts_with("https:") ? "https" : "http,https");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, connect_timeout_ms);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(settings.stall_timeout.count()));
    curl_easy_setopt(curl, CURLOPT_USERAGENT, settings.user_agent.c_str());
    if (!rules.token.empty()) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, rules.token.c_str());
    }
    if (rules.public_only && !settings.uses_proxy) curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_public_socket);
    if (!settings.certificates.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, settings.certificates.c_str());
    if (settings.keep_going) {
        using Counter = curl_off_t;
        const auto ask = +[](void* context, Counter, Counter, Counter, Counter) {
            return (*static_cast<const std::function<bool()>*>(context))() ? 0 : 1;
        };
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, ask);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &settings.keep_going);
    }
    return handle;
}

using WriteFunction = std::size_t (*)(char*, std::size_t, std::size_t, void*);

void set_writer(CURL* curl, WriteFunction write, void* context) {
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, context);
}

long status_of(CURL* curl) {
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

Error network_error(const std::string& url, std::string_view what) {
    return {ErrorKind::unavailable, fmt::format("cannot fetch {}: {}", without_credentials(url), what),
            std::string(way_out)};
}

// Appends to the part file, however much the server sends, but never past the expected end.
struct PartWriter {
    CURL* curl = nullptr;
    int descriptor = -1;
    std::uint64_t start = 0; // the Range asked for
    std::uint64_t done = 0;
    std::uint64_t bytes = 0;
    bool began = false;
    bool cancelled = false;
    std::string failure; // why writing stopped, if it was us
    int write_error = 0;  // errno, if it was the disk
    const FetchProgress* progress = nullptr;

    // Decided at the first byte, when the status is known.
    bool begin() {
        began = true;
        const long status = status_of(curl);
        if (status == 206) return true;
        if (status != 200) {
            failure = fmt::format("the server answered {}", status);
            return false;
        }
        done = 0;
        if (::ftruncate(descriptor, 0) != 0) failure = std::strerror(errno);
        return failure.empty();
    }

    std::size_t write(const char* data, std::size_t size) {
        if (!began && !begin()) return 0;
        if (size > bytes - done) {
            failure = fmt::format("the server sends more than the {} bytes expected", bytes);
            return 0;
        }
        for (std::size_t at = 0; at < size;) {
            const auto count = ::pwrite(descriptor, data + at, size - at, static_cast<off_t>(done));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) {
                write_error = errno;
                failure = std::strerror(write_error);
                return 0;
            }
            at += static_cast<std::size_t>(count);
            done += static_cast<std::uint64_t>(count);
        }
        if (*progress && !(*progress)(done)) cancelled = true;
        return cancelled ? 0 : size;
    }
};

enum class Outcome { complete, interrupted, cancelled, failed };

struct Attempt {
    Outcome outcome = Outcome::failed;
    std::string reason;
};

// The first byte of "Content-Range: bytes 100-199/200"; a server that continues elsewhere would corrupt the file.
std::size_t check_range(char* line, std::size_t size, std::size_t count, void* context) {
    auto& writer = *static_cast<PartWriter*>(context);
    const std::string_view header(line, size * count);
    constexpr std::string_view name = "content-range:";
    const bool ours =
        header.size() > name.size() && std::equal(name.begin(), name.end(), header.begin(), [](char a, char b) {
            return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
        });
    if (ours && status_of(writer.curl) == 206) {
        const auto expected = fmt::format("bytes {}-", writer.start);
        if (header.find(expected) == std::string_view::npos) {
            writer.failure = "the server continues at another byte than asked";
            return 0;
        }
    }
    return header.size();
}

Attempt attempt_fetch(CURL* curl, PartWriter& writer) {
    writer.start = writer.done;
    const std::string range = fmt::format("{}-", writer.done);
    if (writer.done != 0) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
    set_writer(
        curl,
        [](char* data, std::size_t size, std::size_t count, void* context) {
            return static_cast<PartWriter*>(context)->write(data, size * count);
        },
        &writer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, check_range);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &writer);
    const CURLcode code = curl_easy_perform(curl);
    const long status = status_of(curl);
    if (writer.cancelled || code == CURLE_ABORTED_BY_CALLBACK) return {Outcome::cancelled, "stopped"};
    // Server errors pass; refusals (401, 403, 404, 410) do not.
    const bool may_pass = status >= 500 || status == 408 || status == 429 || status == 416;
    if (!writer.failure.empty()) return {may_pass ? Outcome::interrupted : Outcome::failed, writer.failure};
    if (writer.done == writer.bytes) return {Outcome::complete, ""};
    if (code != CURLE_OK) {
        const bool hopeless = code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT ||
                              code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
        return {hopeless ? Outcome::failed : Outcome::interrupted, curl_easy_strerror(code)};
    }
    if (status != 200 && status != 206) {
        return {may_pass ? Outcome::interrupted : Outcome::failed, fmt::format("the server answered {}", status)};
    }
    return {Outcome::interrupted, "the connection ended early"};
}

class Descriptor {
public:
    explicit Descriptor(int value) : value_(value) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (value_ >= 0) ::close(value_);
    }
    int get() const { return value_; }

private:
    int value_;
};

} // namespace

Result<std::string> fetch_text(const HubSettings& settings, const std::string& url, const std::string& accept,
                               std::size_t limit) {
    LUCEBOX_TRY(const CurlHandle handle, new_handle(settings, url));
    struct Text {
        std::string content;
        std::size_t limit;
    } text{{}, limit};
    set_writer(
        handle.get(),
        [](char* data, std::size_t size, std::size_t count, void* context) {
            auto& into = *static_cast<Text*>(context);
            if (into.content.size() + size * count > into.limit) return std::size_t{0};
            into.content.append(data, size * count);
            return size * count;
        },
        &text);
    const std::unique_ptr<curl_slist, CurlDeleter> headers(curl_slist_append(nullptr, ("Accept: " + accept).c_str()));
    curl_easy_setopt(handle.get(), CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(handle.get(), CURLOPT_ACCEPT_ENCODING, ""); // whatever the library can decompress
    const CURLcode code = curl_easy_perform(handle.get());
    if (code == CURLE_ABORTED_BY_CALLBACK) return Error{ErrorKind::cancelled, "the download was stopped"};
    if (code == CURLE_WRITE_ERROR) return network_error(url, "the answer is too large");
    if (code != CURLE_OK) return network_error(url, curl_easy_strerror(code));
    const long status = status_of(handle.get());
    if (status != 200) return network_error(url, fmt::format("the server answered {}", status));
    return std::move(text.content);
}

Status fetch_file(const HubSettings& settings, const std::string& url, const std::filesystem::path& part,
                  std::uint64_t bytes, const FetchProgress& progress, const RequestRules& rules) {
    const Descriptor file(::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    struct stat info {};
    if (file.get() < 0 || ::fstat(file.get(), &info) != 0) {
        return Error{ErrorKind::io, fmt::format("cannot write {}: {}", part.string(), std::strerror(errno))};
    }
    PartWriter writer;
    writer.descriptor = file.get();
    writer.bytes = bytes;
    writer.done = static_cast<std::uint64_t>(info.st_size);
    writer.progress = &progress;
    if (writer.done > bytes) writer.done = 0; // of another file
    if (progress && !progress(writer.done)) return Error{ErrorKind::cancelled, "the download was stopped"};
    auto delay = settings.retry_delay;
    for (int failures = 0; writer.done < bytes;) {
        const std::uint64_t before = writer.done;
        LUCEBOX_TRY(const CurlHandle handle, new_handle(settings, url, rules));
        writer.curl = handle.get();
        writer.began = false;
        writer.failure.clear();
        const Attempt attempt = attempt_fetch(handle.get(), writer);
        if (attempt.outcome == Outcome::complete) break;
        if (attempt.outcome == Outcome::cancelled) {
            return Error{ErrorKind::cancelled, "the download was stopped",
                         "what is there is kept; the next start continues it"};
        }
        if (writer.write_error != 0) {
            return Error{ErrorKind::io, fmt::format("cannot write {}: {}", part.string(), std::strerror(writer.write_error)),
                         "make room; the next start continues the download"};
        }
        if (status_of(handle.get()) == 416) writer.done = 0; // the part is no beginning of what the server has
        if (writer.done > before) {
            failures = 0;
            delay = settings.retry_delay;
        }
        if (attempt.outcome == Outcome::failed || ++failures >= settings.attempts) {
            auto error = network_error(url, attempt.reason);
            if (writer.done > 0) error.hint += "; the next start continues the download";
            return error;
        }
        log_debug("download interrupted at byte {}: {}", writer.done, attempt.reason);
        std::this_thread::sleep_for(delay);
        delay *= 2;
    }
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0 || ::fsync(file.get()) != 0) {
        return Error{ErrorKind::io, fmt::format("cannot write {}: {}", part.string(), std::strerror(errno))};
    }
    return Ok{};
}

Result<HeadAnswer> fetch_head(const HubSettings& settings, const std::string& url, const RequestRules& rules) {
    LUCEBOX_TRY(const CurlHandle handle, new_handle(settings, url, rules));
    HeadAnswer answer;
    const auto note = +[](char* line, std::size_t size, std::size_t count, void* context) {
        const std::string_view header(line, size * count);
        if (const auto colon = header.find(':'); colon != std::string_view::npos) {
            std::string name(header.substr(0, colon));
            for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
            (*static_cast<std::map<std::string, std::string>*>(context))[name] = trimmed(header.substr(colon + 1));
        }
        return header.size();
    };
    curl_easy_setopt(handle.get(), CURLOPT_NOBODY, 1L);
    curl_easy_setopt(handle.get(), CURLOPT_HEADERFUNCTION, note);
    curl_easy_setopt(handle.get(), CURLOPT_HEADERDATA, &answer.headers);
    const CURLcode code = curl_easy_perform(handle.get());
    if (code == CURLE_ABORTED_BY_CALLBACK) return Error{ErrorKind::cancelled, "the download was stopped"};
    if (code == CURLE_COULDNT_CONNECT && rules.public_only && !settings.uses_proxy) {
        return network_error(url, "it cannot be reached, or is a private address, to which no download is led");
    }
    if (code != CURLE_OK) return network_error(url, curl_easy_strerror(code));
    answer.status = status_of(handle.get());
    const char* location = nullptr;
    curl_easy_getinfo(handle.get(), CURLINFO_REDIRECT_URL, &location);
    if (location != nullptr) answer.location = location;
    return answer;
}

bool is_public_address(const sockaddr& address) {
    std::uint32_t v4 = 0;
    if (address.sa_family == AF_INET) {
        v4 = ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr);
    } else if (address.sa_family == AF_INET6) {
        const unsigned char* bytes = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr.s6_addr;
        constexpr unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
        if (!std::equal(std::begin(mapped), std::end(mapped), bytes)) return (bytes[0] & 0xe0) == 0x20; // 2000::/3, global unicast
        v4 = std::uint32_t{bytes[12]} << 24 | std::uint32_t{bytes[13]} << 16 | std::uint32_t{bytes[14]} << 8 | bytes[15];
    } else {
        return false;
    }
    struct Range {
        std::uint32_t first;
        int bits;
    };
    constexpr Range closed[] = {{0x00000000, 8}, {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},
                                {0xa9fe0000, 16}, {0xac100000, 12}, {0xc0a80000, 16}, {0xe0000000, 3}};
    return std::ranges::none_of(closed, [&](const Range& range) { return v4 >> (32 - range.bits) == range.first >> (32 - range.bits); });
}

} // namespace lucebox::hub
