// Finds the handler for a method and path.
//
// Patterns are literal segments and {names}: "/v1/models/{id}". A last part {name*} takes the rest of the path, slashes
// included. Literal segments win over names. GET routes answer HEAD. Filled before the server starts, constant after.
#pragma once

#include "server/http/message.h"
#include "server/http/responder.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::server {

// Called on an I/O thread; must not block: long work is handed to another thread together with the Responder.
using Handler = std::function<void(const Request&, std::shared_ptr<Responder>)>;

struct RouteOptions {
    bool open = false;  // answers without an API key: health checks
    bool served = true; // false: only says that this is not served here
};

class Router {
public:
    // A malformed or repeated pattern is our own bug and ends the program.
    void add(std::string_view method, std::string_view pattern, Handler handler, RouteOptions options = {});

    struct Match {
        const Handler* handler = nullptr; // null: no route for this method
        RouteOptions options;
        std::vector<std::pair<std::string, std::string>> parameters;
        std::string allowed; // the path's methods for an Allow header: "GET, HEAD, OPTIONS"; empty: unknown path
    };
    // `path` is still percent-encoded: an escaped slash does not separate segments.
    Match find(std::string_view method, std::string_view path) const;

private:
    struct Route {
        std::string method;
        std::vector<std::string> segments;
        Handler handler;
        RouteOptions options;
    };
    static bool matches(const Route& route, const std::vector<std::string_view>& segments,
                        std::vector<std::pair<std::string, std::string>>* parameters);

    std::vector<Route> routes_;
};

} // namespace lucebox::server
