// A parsed request and the small vocabulary of HTTP that handlers need.
//
// A Request is immutable once a handler sees it; any thread may read it while it lives (see Responder::request).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lucebox::server {

// In the order they appear on the wire. Names compare without case.
using Headers = std::vector<std::pair<std::string, std::string>>;

bool equal_without_case(std::string_view a, std::string_view b);
// The first value of that name.
std::optional<std::string_view> find_header(const Headers& headers, std::string_view name);

struct Request {
    std::string method;                                          // "GET"; HEAD requests to GET routes keep "HEAD"
    std::string target;                                          // as received: "/v1/messages?beta=true"
    std::string path;                                            // decoded, without the query: "/v1/messages"
    std::string query;                                           // undecoded, without the question mark
    std::vector<std::pair<std::string, std::string>> parameters; // from the route's pattern, decoded
    Headers headers;
    std::string body;
    std::string id;             // x-request-id: the client's own if it was sane, else ours
    std::string remote_address; // "127.0.0.1:51234"
    std::uint64_t client = 0;   // whose it is: a number made of the key it showed, or of its address where none is needed
    bool authorised = false;    // presented a key from the list; true for all where there is no list

    std::optional<std::string_view> header(std::string_view name) const { return find_header(headers, name); }
    // Values of the route's {name}; empty when the pattern has no such part.
    std::string_view parameter(std::string_view name) const;
    // The first `name` of the query, decoded; "" for one without a value.
    std::optional<std::string> query_parameter(std::string_view name) const;
};

// Decodes %XX (and + as a space if `plus_is_space`). Nothing for malformed escapes and for a NUL.
std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space = false);

std::string_view reason_phrase(int status); // "Not Found"; "Unknown" for what nobody registered

} // namespace lucebox::server
