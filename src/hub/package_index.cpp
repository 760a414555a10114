#include "hub/package_index.h"

#include "hub/fetch.h"

#include <algorithm>
#include <curl/curl.h>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

namespace lucebox::hub {
namespace {

constexpr std::size_t largest_page = 16 << 20;
constexpr const char* accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

struct UrlDeleter {
    void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlDeleter>;

std::string url_part(const Url& url, CURLUPart part) {
    char* text = nullptr;
    if (curl_url_get(url.get(), part, &text, 0) != CURLUE_OK) return {};
    std::string result = text;
    curl_free(text);
    return result;
}

// `link` as seen from `page_url`, without its fragment. On the page's own host the page's user and password go along,
// as private indexes expect; nowhere else.
std::optional<std::string> absolute_url(const std::string& link, const std::string& page_url) {
    const Url page(curl_url()), url(curl_url());
    if (curl_url_set(page.get(), CURLUPART_URL, page_url.c_str(), 0) != CURLUE_OK) return std::nullopt;
    if (curl_url_set(url.get(), CURLUPART_URL, page_url.c_str(), 0) != CURLUE_OK) return std::nullopt;
    if (curl_url_set(url.get(), CURLUPART_URL, link.c_str(), 0) != CURLUE_OK) return std::nullopt;
    const auto same = [&](CURLUPart part) { return url_part(page, part) == url_part(url, part); };
    const bool own_host = same(CURLUPART_SCHEME) && same(CURLUPART_HOST) && same(CURLUPART_PORT);
    for (const CURLUPart part : {CURLUPART_USER, CURLUPART_PASSWORD}) {
        const std::string secret = url_part(page, part);
        if (own_host && !secret.empty())
            curl_url_set(url.get(), part, secret.c_str(), 0);
        else if (!own_host)
            curl_url_set(url.get(), part, nullptr, 0);
    }
    curl_url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0);
    const std::string result = url_part(url, CURLUPART_URL);
    const bool fetchable = result.starts_with("http://") || result.starts_with("https://");
    return fetchable ? std::optional(result) : std::nullopt;
}

std::optional<std::string> link_in_json(std::string_view page, std::string_view filename) {
    const auto json = nlohmann::json::parse(page, nullptr, false);
    if (!json.is_object() || !json.contains("files") || !json["files"].is_array()) return std::nullopt;
    for (const auto& file : json["files"]) {
        if (!file.is_object() || !file.contains("filename") || !file.contains("url")) continue;
        if (file["filename"] == filename && file["url"].is_string()) return file["url"].get<std::string>();
    }
    return std::nullopt;
}

std::string unescaped(std::string_view text) {
    std::string result(text);
    constexpr std::pair<std::string_view, char> entities[] = {
        {"&#38;", '&'}, {"&quot;", '"'}, {"&#39;", '\''}, {"&amp;", '&'}};
    for (const auto& [entity, character] : entities) {
        for (auto at = result.find(entity); at != std::string::npos; at = result.find(entity, at + 1)) {
            result.replace(at, entity.size(), 1, character);
        }
    }
    return result;
}

std::string_view last_segment(std::string_view link) {
    link = link.substr(0, link.find_first_of("?#"));
    const auto slash = link.rfind('/');
    return slash == std::string_view::npos ? link : link.substr(slash + 1);
}

// Anchors of the plain kind that indexes write; their last path segment is the file's name.
std::optional<std::string> link_in_html(std::string_view page, std::string_view filename) {
    for (auto at = page.find("href="); at != std::string_view::npos; at = page.find("href=", at + 1)) {
        const auto quote = at + 5;
        if (quote >= page.size() || (page[quote] != '"' && page[quote] != '\'')) continue;
        const auto end = page.find(page[quote], quote + 1);
        if (end == std::string_view::npos) return std::nullopt;
        const std::string link = unescaped(page.substr(quote + 1, end - quote - 1));
        if (last_segment(link) == filename) return link;
    }
    return std::nullopt;
}

} // namespace

Result<std::string> find_link(std::string_view page, const std::string& page_url, std::string_view filename) {
    const auto first = page.find_first_not_of(" \t\r\n");
    const bool json = first != std::string_view::npos && page[first] == '{';
    const auto link = json ? link_in_json(page, filename) : link_in_html(page, filename);
    const auto url = link ? absolute_url(*link, page_url) : std::nullopt;
    if (url) return *url;
    return Error{ErrorKind::not_found, fmt::format("{} does not offer {}", without_credentials(page_url), filename),
                 "use another package index (PIP_INDEX_URL), or give a model file with --model FILE"};
}

Result<std::string> find_package_file(const HubSettings& settings, std::string_view package,
                                      std::string_view filename) {
    std::string base = settings.index_url;
    while (base.ends_with('/'))
        base.pop_back();
    const std::string page_url = fmt::format("{}/{}/", base, package);
    LUCEBOX_TRY(const std::string page, fetch_text(settings, page_url, accept, largest_page));
    return find_link(page, page_url, filename);
}

} // namespace lucebox::hub
