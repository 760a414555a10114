#include "hub/curl_request.h"

#include "base/ascii.h"

#include <algorithm>
#include <charconv>
#include <sys/socket.h>

namespace lucebox::hub {
namespace {

constexpr long connect_timeout_ms = 15000;
constexpr long most_redirects_of_a_request = 5;

// Asked for the address that a name was resolved to, so that no name leads inside.
curl_socket_t open_public_socket(void*, curlsocktype, curl_sockaddr* address) {
    if (!is_public_address(address->addr)) return CURL_SOCKET_BAD;
    return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

} // namespace

Result<CurlHandle> new_request(const HubSettings& settings, const std::string& url, const RequestRules& rules) {
    static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
    CurlHandle handle(started == CURLE_OK ? curl_easy_init() : nullptr);
    if (!handle) return Error{ErrorKind::internal, "cannot start the download library"};
    CURL* curl = handle.get();
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, rules.redirects ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, most_redirects_of_a_request);
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

void set_writer(CURL* curl, WriteFunction write, void* context) {
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, context);
}

long status_of(CURL* curl) {
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

ContentRange content_range(std::string_view line) {
    constexpr std::string_view name = "content-range:";
    ContentRange range;
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    range.is_one = line.size() > name.size() && std::equal(name.begin(), name.end(), line.begin(), [&](char a, char b) { return a == lower(b); });
    if (!range.is_one) return range;
    const std::string_view value = trimmed(line.substr(name.size()));
    constexpr std::string_view unit = "bytes ";
    if (!value.starts_with(unit)) return range;
    const char* const end = value.data() + value.size();
    const auto first = std::from_chars(value.data() + unit.size(), end, range.first);
    range.reads = first.ec == std::errc{} && first.ptr != end && *first.ptr == '-';
    const auto slash = value.find('/');
    if (range.reads && slash != std::string_view::npos && value.substr(slash + 1) != "*") {
        const auto total = std::from_chars(value.data() + slash + 1, end, range.total);
        range.reads = total.ec == std::errc{} && total.ptr == end;
    }
    return range;
}

bool may_pass(long status) { return status >= 500 || status == 408 || status == 429 || status == 416; }

bool is_hopeless(CURLcode code) {
    return code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT || code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
}

} // namespace lucebox::hub
