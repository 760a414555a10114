// Asks a running server, for the commands that talk to one.
#pragma once

#include "base/options.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <string>

namespace lucebox::app {

struct Reply {
    long status = 0;
    std::string body;
    double seconds = 0;
};

class ServerClient {
public:
    // --url, or the server on this machine; with the first of the keys.
    static Result<ServerClient> of(const Options& options);

    static ServerClient at(std::string url, std::string key, std::chrono::milliseconds timeout);

    // GET when `body` is null. An error: nobody answers.
    Result<Reply> ask(const std::string& path, const nlohmann::json& body = nullptr) const;

    const std::string& url() const { return url_; } // without a slash at its end
    const std::string& key() const { return key_; } // empty: none

private:
    std::string url_, key_;
    std::chrono::milliseconds timeout_{};
};

} // namespace lucebox::app
