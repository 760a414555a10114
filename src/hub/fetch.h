// Fetching over HTTP(S): small texts into memory, large files into a part file that a later try continues.
//
// Blocking; called from one thread. Certificates are always verified. Errors never name user or password of a URL.
#pragma once

#include "base/result.h"
#include "hub/part_file.h"
#include "hub/settings.h"

#include <map>
#include <string>

struct sockaddr;

namespace lucebox::hub {

// How one request is made, beside what the settings say.
struct RequestRules {
    std::string token = {};     // shown to this server alone, as a bearer
    bool redirects = true;      // followed by the library
    bool public_only = false;   // refuse to connect to loopback, private and link-local addresses (where no proxy stands between)
};

// The body of a 200 answer of at most `limit` bytes. `accept` is the Accept header.
Result<std::string> fetch_text(const HubSettings& settings, const std::string& url, const std::string& accept,
                               std::size_t limit);

// Completes `part` from `url`: continues what is there by Range requests, several side by side while much is missing; starts anew
// where the server ignores ranges; tries again after interruptions. False of `progress` stops and keeps the part. The content
// is the caller's to judge, by the part's hash.
Status fetch_file(const HubSettings& settings, const std::string& url, PartFile& part, const FetchProgress& progress,
                  const RequestRules& rules = {});

// What a server says of a file without sending it.
struct HeadAnswer {
    long status = 0;
    std::string location;                       // where a 3xx leads, absolute; empty: nowhere
    std::map<std::string, std::string> headers; // names in lower case
};
Result<HeadAnswer> fetch_head(const HubSettings& settings, const std::string& url, const RequestRules& rules);

// A download's error, with the way out.
Error network_error(const std::string& url, std::string_view what);

// Whether an address is one that anybody may reach: not loopback, private, link-local, shared (RFC 6598) or multicast.
bool is_public_address(const sockaddr& address);

} // namespace lucebox::hub
