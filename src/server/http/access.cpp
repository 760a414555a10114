#include "server/http/access.h"

#include "base/ascii.h"
#include "server/http/message.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>

namespace lucebox::server {
namespace {

bool contains(const std::vector<std::string>& list, std::string_view item) {
    return std::find(list.begin(), list.end(), item) != list.end();
}

bool is_address(const std::string& host) {
    in6_addr storage;
    if (host.starts_with('[')) {
        return host.ends_with(']') && ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &storage) == 1;
    }
    return ::inet_pton(AF_INET, host.c_str(), &storage) == 1;
}

} // namespace

std::optional<std::string> host_without_port(std::string_view host) {
    host = trimmed(host);
    const auto end = host.starts_with('[') ? host.find(']') : host.find(':');
    std::string_view name = host.substr(0, end);
    std::string_view port = end == std::string_view::npos ? std::string_view{} : host.substr(end);
    if (host.starts_with('[')) {
        if (end == std::string_view::npos) return std::nullopt;
        name = host.substr(0, end + 1);
        port = host.substr(end + 1);
    }
    if (!port.empty()) {
        const bool digits = std::all_of(port.begin() + 1, port.end(), [](char c) { return c >= '0' && c <= '9'; });
        if (port[0] != ':' || !digits) return std::nullopt;
    }
    const bool sane = std::all_of(name.begin(), name.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte > 0x20 && byte != 0x7f && c != '/' && c != '@' && c != '?' && c != '#' && c != ',';
    });
    if (name.empty() || !sane) return std::nullopt;
    std::string result = lower(name);
    if (result.ends_with('.') && result.size() > 1) result.pop_back(); // the root's dot names the same host
    return result;
}

AccessPolicy::AccessPolicy(const AccessRules& rules) : origins_(rules.allowed_origins) {
    for (const auto& key : rules.api_keys)
        keys_.push_back(sha256(key));
    for (const auto& host : rules.allowed_hosts)
        hosts_.push_back(host_without_port(host).value_or(lower(host)));
    for (auto& origin : origins_) {
        origin = lower(origin);
        while (origin.ends_with('/'))
            origin.pop_back();
    }
}

bool AccessPolicy::matches_key(std::string_view key) const {
    const Sha256Digest digest = sha256(key);
    bool found = false;
    for (const auto& known : keys_)
        found |= equal_in_constant_time(digest, known);
    return found;
}

template <class Visit>
void AccessPolicy::each_key(std::optional<std::string_view> authorization, std::optional<std::string_view> api_key, Visit&& visit) const {
    if (api_key) visit(trimmed(*api_key));
    constexpr std::string_view scheme = "bearer ";
    if (authorization && equal_without_case(authorization->substr(0, scheme.size()), scheme)) visit(trimmed(authorization->substr(scheme.size())));
}

bool AccessPolicy::key_is_valid(std::optional<std::string_view> authorization,
                                std::optional<std::string_view> api_key) const {
    bool valid = keys_.empty();
    each_key(authorization, api_key, [&](std::string_view key) { valid |= matches_key(key); });
    return valid;
}

std::uint64_t AccessPolicy::client_of(std::optional<std::string_view> authorization, std::optional<std::string_view> api_key,
                                      std::string_view address) const {
    const auto number = [](const Sha256Digest& digest) {
        std::uint64_t value = 0;
        std::memcpy(&value, digest.data(), sizeof value);
        return value;
    };
    std::optional<std::uint64_t> client;
    if (!keys_.empty())
        each_key(authorization, api_key, [&](std::string_view key) {
            if (matches_key(key)) client = number(sha256(key));
        });
    return client.value_or(number(sha256(address.substr(0, address.rfind(':')))));
}

bool AccessPolicy::host_is_allowed(std::string_view host) const {
    const auto name = host_without_port(host);
    if (!name) return false;
    return *name == "localhost" || name->ends_with(".localhost") || is_address(*name) || contains(hosts_, *name) ||
           contains(hosts_, "*");
}

bool AccessPolicy::origin_is_allowed(std::string_view origin, std::string_view host) const {
    const std::string given = lower(trimmed(origin));
    if (contains(origins_, given) || contains(origins_, "*")) return true;
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (given.starts_with(scheme) && given.substr(scheme.size()) == lower(trimmed(host))) return true;
    }
    return false;
}

} // namespace lucebox::server
