#include "hub/fetch.h"

#include "base/ascii.h"
#include "hub/curl_request.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

namespace lucebox::hub {

Error network_error(const std::string& url, std::string_view what) {
    return {ErrorKind::unavailable, fmt::format("cannot fetch {}: {}", without_credentials(url), what),
            "check the network, name a mirror (PIP_INDEX_URL, HF_ENDPOINT), or give a model file with --model FILE"};
}

Result<std::string> fetch_text(const HubSettings& settings, const std::string& url, const std::string& accept,
                               std::size_t limit) {
    LUCEBOX_TRY(const CurlHandle handle, new_request(settings, url));
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

Result<HeadAnswer> fetch_head(const HubSettings& settings, const std::string& url, const RequestRules& rules) {
    LUCEBOX_TRY(const CurlHandle handle, new_request(settings, url, rules));
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
