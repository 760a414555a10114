#include "app/serving/server_client.h"

#include "app/serving/api_keys.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <memory>

namespace lucebox::app {
namespace {

constexpr std::size_t most_bytes = 16u << 20;

std::size_t collect(char* data, std::size_t size, std::size_t count, void* out) {
    auto& text_so_far = *static_cast<std::string*>(out);
    if (text_so_far.size() + size * count > most_bytes) return 0;
    text_so_far.append(data, size * count);
    return size * count;
}

} // namespace

Result<ServerClient> ServerClient::of(const Options& options) {
    LUCEBOX_TRY(const std::vector<std::string> keys, api_keys(options));
    ServerClient client;
    client.url_ = options.is_set("url") ? options.text("url") : fmt::format("http://127.0.0.1:{}", options.integer("port"));
    while (client.url_.ends_with('/')) client.url_.pop_back();
    if (!keys.empty()) client.key_ = keys.front();
    client.timeout_ = options.duration("timeout");
    return client;
}

ServerClient ServerClient::at(std::string url, std::string key, std::chrono::milliseconds timeout) {
    ServerClient client;
    client.url_ = std::move(url);
    client.key_ = std::move(key);
    client.timeout_ = timeout;
    return client;
}

Result<Reply> ServerClient::ask(const std::string& path, const nlohmann::json& body) const {
    const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
    if (!curl) return Error{ErrorKind::internal, "no HTTP client could be made"};
    Reply reply;
    const std::string address = url_ + path, text = body.is_null() ? "" : body.dump();
    curl_slist* list = curl_slist_append(nullptr, "Content-Type: application/json");
    if (!key_.empty()) list = curl_slist_append(list, ("Authorization: Bearer " + key_).c_str());
    const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(list, curl_slist_free_all);
    curl_easy_setopt(curl.get(), CURLOPT_URL, address.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_.count()));
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
    if (!body.is_null()) curl_easy_setopt(curl.get(), CURLOPT_COPYPOSTFIELDS, text.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &reply.body);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &collect);
    const auto begin = std::chrono::steady_clock::now();
    if (const CURLcode code = curl_easy_perform(curl.get()); code != CURLE_OK) {
        return Error{ErrorKind::unavailable, fmt::format("{}: {}", address, curl_easy_strerror(code)),
                     "is the server running? lucebox serve, or name another with --url"};
    }
    reply.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &reply.status);
    return reply;
}

} // namespace lucebox::app
