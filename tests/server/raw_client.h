// A client of bare sockets, so that tests can send what no HTTP library would; and the patience of all tests with a server.
#pragma once

#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace lucebox::server {

struct RawResponse {
    int status = 0;                             // 0: none came
    std::map<std::string, std::string> headers; // names in lower case
    std::string body;

    std::string header(const std::string& name) const {
        const auto found = headers.find(name);
        return found == headers.end() ? "" : found->second;
    }
};

// Only a test that fails waits so long: on a busy machine a thread may not run for seconds.
inline constexpr std::chrono::milliseconds patience = std::chrono::seconds(30);

inline bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds within = patience) {
    const auto end = std::chrono::steady_clock::now() + within;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

class RawClient {
public:
    explicit RawClient(std::uint16_t port, int receive_buffer = 0) {
        socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (receive_buffer != 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ||
                     (errno == EINTR && connection_is_made()); // a fuzzer's alarm interrupts the call, not the connecting
    }
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;
    ~RawClient() { close(); }

    bool connected() const { return connected_; }

    bool send(std::string_view text) {
        while (!text.empty()) {
            const auto count = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
            if (count < 0 && errno == EINTR) continue;
            if (count <= 0) return false;
            text.remove_prefix(static_cast<std::size_t>(count));
        }
        return true;
    }

    void close_sending_half() { ::shutdown(socket_, SHUT_WR); }
    void close() {
        if (socket_ >= 0) ::close(socket_);
        socket_ = -1;
    }
    void reset() { // RST instead of FIN
        const linger now{1, 0};
        ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close();
    }

    // Appends what arrives to received(); false at the end of the stream, on an error and after the timeout.
    bool receive(std::chrono::milliseconds timeout = patience) {
        pollfd waiting{socket_, POLLIN, 0};
        int ready = 0;
        do ready = ::poll(&waiting, 1, static_cast<int>(timeout.count()));
        while (ready < 0 && errno == EINTR); // a fuzzer's alarm is no end of the time
        if (ready <= 0) {
            timed_out_ = true;
            return false;
        }
        char buffer[16384];
        const auto count = ::recv(socket_, buffer, sizeof buffer, 0);
        if (count < 0 && errno == EINTR) return true;
        if (count <= 0) return false;
        received_.append(buffer, static_cast<std::size_t>(count));
        return true;
    }
    bool receive_until(std::string_view text, std::chrono::milliseconds timeout = patience) {
        while (received_.find(text) == std::string::npos) {
            if (!receive(timeout)) return false;
        }
        return true;
    }
    // True if the server closes within the timeout.
    bool closed_by_server(std::chrono::milliseconds timeout = patience) {
        timed_out_ = false;
        while (receive(timeout)) {
        }
        return !timed_out_;
    }
    const std::string& received() const { return received_; }

    // The next response, chunked bodies decoded. `head`: it answers a HEAD request.
    RawResponse response(bool head = false) {
        RawResponse result;
        if (!receive_until("\r\n\r\n")) return result;
        const auto end = received_.find("\r\n\r\n");
        const std::string text = received_.substr(0, end + 2);
        received_.erase(0, end + 4);
        for (auto at = text.find("\r\n") + 2; at < text.size();) {
            const auto line_end = text.find("\r\n", at);
            const auto colon = text.find(':', at);
            std::string name = text.substr(at, colon - at);
            for (char& c : name)
                c = static_cast<char>(std::tolower(c));
            result.headers[name] = text.substr(colon + 2, line_end - colon - 2);
            at = line_end + 2;
        }
        const int status = std::stoi(text.substr(9, 3));
        if (!head && status != 204 && status != 100 && !read_body(result)) return result; // status stays 0: cut off
        result.status = status;
        return result;
    }
    RawResponse request(std::string_view text, bool head = false) {
        send(text);
        return response(head);
    }

private:
    bool connection_is_made() const {
        pollfd waiting{socket_, POLLOUT, 0};
        int ready = 0;
        do ready = ::poll(&waiting, 1, 5000);
        while (ready < 0 && errno == EINTR);
        int error = 0;
        socklen_t size = sizeof error;
        return ready == 1 && ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
    }
    bool take(std::size_t count, std::string& out) {
        while (received_.size() < count) {
            if (!receive()) return false;
        }
        out += received_.substr(0, count);
        received_.erase(0, count);
        return true;
    }
    bool read_body(RawResponse& result) {
        if (result.header("transfer-encoding") == "chunked") {
            for (;;) {
                if (!receive_until("\r\n")) return false;
                const auto size = std::stoul(received_, nullptr, 16);
                received_.erase(0, received_.find("\r\n") + 2);
                std::string crlf;
                if (!take(size, result.body) || !take(2, crlf) || crlf != "\r\n") return false;
                if (size == 0) return true;
            }
        }
        if (result.headers.contains("content-length"))
            return take(std::stoul(result.header("content-length")), result.body);
        const bool closed = closed_by_server();
        result.body += received_;
        received_.clear();
        return closed;
    }

    int socket_ = -1;
    bool connected_ = false;
    bool timed_out_ = false;
    std::string received_;
};

} // namespace lucebox::server
