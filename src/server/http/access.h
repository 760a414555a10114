// Who may talk to us: Host names, browser origins, API keys. Decisions only; the connection turns them into answers.
//
// Constant after construction; any thread may ask.
#pragma once

#include "base/hash.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::server {

struct AccessRules {
    // Keys that clients must present. Empty: no key is needed.
    std::vector<std::string> api_keys;
    // Host names besides localhost under which we may be addressed; "*" allows all. IP addresses are always allowed:
    // an attacker's page reaches us by a name that it rebinds (DNS rebinding), never by an address.
    std::vector<std::string> allowed_hosts;
    // Origins of web pages elsewhere that may call us: "https://chat.example"; "*" allows all.
    // Pages that we serve ourselves are always allowed.
    std::vector<std::string> allowed_origins;
};

class AccessPolicy {
public:
    explicit AccessPolicy(const AccessRules& rules);

    bool needs_key() const { return !keys_.empty(); }
    // `authorization` is the header's value ("Bearer KEY"), `api_key` that of x-api-key. Every key is compared, in
    // full.
    bool key_is_valid(std::optional<std::string_view> authorization, std::optional<std::string_view> api_key) const;
    // A number that is the same for all requests of one client: with the same valid key, or else from the same address
    // ("127.0.0.1:51234", whatever the port).
    std::uint64_t client_of(std::optional<std::string_view> authorization, std::optional<std::string_view> api_key, std::string_view address) const;

    bool host_is_allowed(std::string_view host) const; // the Host header's value, with or without port
    // The same page may call from where we served it: there Origin's authority is the Host.
    bool origin_is_allowed(std::string_view origin, std::string_view host) const;

private:
    bool matches_key(std::string_view key) const;
    template <class Visit> void each_key(std::optional<std::string_view> authorization, std::optional<std::string_view> api_key, Visit&& visit) const;

    std::vector<Sha256Digest> keys_; // only digests stay in memory; equal lengths make the comparison constant-time
    std::vector<std::string> hosts_;
    std::vector<std::string> origins_;
};

// "name", "name:port", "1.2.3.4:port", "[::1]:port" without the port, in lower case; nothing if malformed.
std::optional<std::string> host_without_port(std::string_view host);

} // namespace lucebox::server
