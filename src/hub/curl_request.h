// One request of libcurl with everything that all of ours have in common: what is refused, how long is waited, who is shown
// the token. Private to the downloads.
#pragma once

#include "base/result.h"
#include "hub/fetch.h"

#include <curl/curl.h>

#include <memory>
#include <string>

namespace lucebox::hub {

struct CurlDeleter {
    void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using CurlHandle = std::unique_ptr<CURL, CurlDeleter>;

// `settings` must outlive the handle.
Result<CurlHandle> new_request(const HubSettings& settings, const std::string& url, const RequestRules& rules = {});

using WriteFunction = std::size_t (*)(char*, std::size_t, std::size_t, void*);
void set_writer(CURL* curl, WriteFunction write, void* context);

long status_of(CURL* curl);

// Of a header line "Content-Range: bytes 100-199/200", in any case: 100 and 200.
struct ContentRange {
    bool is_one = false; // the header
    bool reads = false;  // and it could be read
    std::uint64_t first = 0, total = 0; // total 0: not stated
};
ContentRange content_range(std::string_view line);

// How a try at fetching ended. Server errors pass; refusals (401, 403, 404, 410) do not.
struct Attempt {
    enum class Outcome { complete, interrupted, cancelled, failed, no_ranges } outcome = Outcome::failed;
    std::string reason;
};
bool may_pass(long status);
bool is_hopeless(CURLcode code);

} // namespace lucebox::hub
