// lucebox healthcheck: asks the server on this machine whether it can answer; for the container's HEALTHCHECK, which has no curl.
#include "app/commands.h"

#include <fmt/format.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace lucebox::app {
namespace {

constexpr int timeout_seconds = 5;

struct Socket {
    int descriptor = -1;
    ~Socket() {
        if (descriptor >= 0) ::close(descriptor);
    }
};

Error unhealthy(const std::string& what) { return {ErrorKind::unavailable, what, "the server's log says more"}; }

// The first line of the answer to GET /ready.
Result<std::string> status_line(std::uint16_t port) {
    Socket socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (socket.descriptor < 0) return unhealthy("no socket could be made");
    const timeval timeout{timeout_seconds, 0};
    ::setsockopt(socket.descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    ::setsockopt(socket.descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket.descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return unhealthy(fmt::format("nothing listens on port {}", port));
    }
    const std::string request = fmt::format("GET /ready HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", port);
    if (::send(socket.descriptor, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
        return unhealthy("the server does not take requests");
    }
    std::string answer;
    char buffer[256];
    while (answer.find('\n') == std::string::npos && answer.size() < 4096) {
        const ssize_t got = ::recv(socket.descriptor, buffer, sizeof buffer, 0);
        if (got <= 0) return unhealthy(fmt::format("the server did not answer within {} s", timeout_seconds));
        answer.append(buffer, static_cast<std::size_t>(got));
    }
    return answer.substr(0, answer.find('\r'));
}

} // namespace

Status healthcheck(const Invocation& invocation) {
    LUCEBOX_TRY(const std::string line, status_line(static_cast<std::uint16_t>(invocation.options.integer("port"))));
    if (line.starts_with("HTTP/1.1 200")) return Ok{};
    if (line.starts_with("HTTP/1.1 503")) return unhealthy("the server is not ready: the model is loading, or failed to");
    return unhealthy(fmt::format("the server answered: {}", line));
}

} // namespace lucebox::app
