#include "hub/settings.h"

#include "base/ascii.h"
#include "base/file.h"

#include <algorithm>
#include <map>

namespace lucebox::hub {
namespace {

constexpr std::string_view public_index = "https://pypi.org/simple";
constexpr std::uint64_t largest_config = 1 << 20, largest_token = 4096;

std::string value_of(const Environment& environment, const std::string& name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
}

// [global] of one of pip's files: "key = value" or "key: value", comments on lines of their own.
void read_pip_config(const std::filesystem::path& path, std::map<std::string, std::string>& values) {
    const auto text = read_text_file(path, largest_config);
    if (!text) return; // pip ignores a missing file too, and an unreadable one is not ours to judge
    bool global = false;
    for (std::string_view rest = *text; !rest.empty();) {
        const auto end = rest.find('\n');
        const auto line = trimmed(rest.substr(0, end));
        rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
        if (line.empty() || line[0] == '#' || line[0] == ';') continue;
        if (line[0] == '[') {
            global = line == "[global]";
            continue;
        }
        const auto separator = line.find_first_of("=:");
        if (!global || separator == std::string_view::npos) continue;
        std::string key(trimmed(line.substr(0, separator)));
        std::replace(key.begin(), key.end(), '_', '-');
        values[key] = trimmed(line.substr(separator + 1));
    }
}

// Weakest first, so that a later file overwrites (pip's documented order: global, user, site or PIP_CONFIG_FILE).
std::map<std::string, std::string> pip_config(const Environment& environment) {
    std::map<std::string, std::string> values;
    const std::string chosen = value_of(environment, "PIP_CONFIG_FILE");
    const std::string home = value_of(environment, "HOME"), xdg = value_of(environment, "XDG_CONFIG_HOME");
    if (chosen == "/dev/null") return values; // pip's way of saying: no files at all
    read_pip_config("/etc/xdg/pip/pip.conf", values);
    read_pip_config("/etc/pip.conf", values);
    if (!home.empty()) {
        read_pip_config(std::filesystem::path(home) / ".pip/pip.conf", values);
        const auto config = xdg.empty() ? std::filesystem::path(home) / ".config" : std::filesystem::path(xdg);
        read_pip_config(config / "pip/pip.conf", values);
    }
    if (!chosen.empty()) read_pip_config(chosen, values);
    return values;
}

} // namespace

std::vector<std::filesystem::path> split_folders(std::string_view text) {
    std::vector<std::filesystem::path> folders;
    while (!text.empty()) {
        const auto end = text.find(':');
        if (end != 0) folders.emplace_back(text.substr(0, end));
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    }
    return folders;
}

std::string without_credentials(std::string_view url) {
    const auto scheme = url.find("://");
    if (scheme == std::string_view::npos) return std::string(url);
    const auto begin = scheme + 3;
    const auto authority = url.substr(begin, url.find_first_of("/?#", begin) - begin);
    const auto at = authority.rfind('@');
    if (at == std::string_view::npos) return std::string(url);
    return std::string(url.substr(0, begin)) + std::string(url.substr(begin + at + 1));
}

HubSettings hub_settings(const Environment& environment) {
    HubSettings settings;
    settings.folders = split_folders(value_of(environment, "LUCEBOX_MODELS"));
    const std::string cache = value_of(environment, "XDG_CACHE_HOME"), home = value_of(environment, "HOME");
    if (const std::string own = value_of(environment, "LUCEBOX_CACHE"); !own.empty())
        settings.cache = own;
    else if (!cache.empty())
        settings.cache = std::filesystem::path(cache) / "lucebox/models";
    else
        settings.cache = std::filesystem::path(home.empty() ? "/tmp" : home) / ".cache/lucebox/models";

    if (const std::string endpoint = value_of(environment, "HF_ENDPOINT"); !endpoint.empty()) settings.hf_endpoint = endpoint;
    while (settings.hf_endpoint.ends_with('/')) settings.hf_endpoint.pop_back();
    settings.hf_token = value_of(environment, "HF_TOKEN");
    if (const std::string file = value_of(environment, "HF_TOKEN_PATH"); settings.hf_token.empty() && !file.empty()) {
        if (const auto text = read_text_file(file, largest_token)) settings.hf_token = trimmed(*text); // without it, what is public can still be had
    }
    for (const char* name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) settings.uses_proxy |= !value_of(environment, name).empty();
    settings.allow_local_redirects = value_of(environment, "LUCEBOX_ALLOW_LOCAL_REDIRECTS") == "1";

    const auto pip = pip_config(environment);
    const auto from_pip = [&](const char* key) {
        const auto found = pip.find(key);
        return found == pip.end() ? std::string() : found->second;
    };
    settings.index_url = value_of(environment, "PIP_INDEX_URL");
    if (settings.index_url.empty()) settings.index_url = from_pip("index-url");
    if (settings.index_url.empty()) settings.index_url = public_index;
    for (const char* name : {"PIP_CERT", "SSL_CERT_FILE"}) {
        if (settings.certificates.empty()) settings.certificates = value_of(environment, name);
    }
    if (settings.certificates.empty()) settings.certificates = from_pip("cert");
    return settings;
}

} // namespace lucebox::hub
