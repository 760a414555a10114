// A package index of bare sockets that misbehaves as a test says: it cuts, lies, ignores, stalls.
#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace lucebox::hub {

struct IndexRequest {
    std::string path;
    std::optional<std::size_t> range; // "Range: bytes=N-"
    std::size_t number = 0;           // how many came before it for the same path
    std::string head;                 // the whole request
    bool is_head() const { return head.starts_with("HEAD "); }
};

// What goes out, byte for byte, before the connection is closed. `hold`: kept open, silent, until the server goes.
struct IndexAnswer {
    std::string bytes;
    bool hold = false;
};

inline std::string http_answer(int status, const std::string& headers, const std::string& body,
                               std::optional<std::size_t> announced = {}) {
    return "HTTP/1.1 " + std::to_string(status) + " X\r\nConnection: close\r\n" + headers +
           "Content-Length: " + std::to_string(announced.value_or(body.size())) + "\r\n\r\n" + body;
}

class IndexServer {
public:
    using Handler = std::function<IndexAnswer(const IndexRequest&)>;

    explicit IndexServer(Handler handler) : handler_(std::move(handler)) {
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
        ::listen(listener_, 16);
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { run(); });
    }
    ~IndexServer() {
        stop_ = true;
        thread_.join();
        for (const int held : held_) ::close(held);
        ::close(listener_);
    }

    std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
    std::vector<IndexRequest> requests() const {
        const std::lock_guard lock(mutex_);
        return requests_;
    }

private:
    void run() {
        while (!stop_) {
            pollfd waiting{listener_, POLLIN, 0};
            if (::poll(&waiting, 1, 20) <= 0) continue;
            const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (client >= 0) serve(client);
        }
    }

    void serve(int client) {
        std::string head;
        char buffer[4096];
        while (head.find("\r\n\r\n") == std::string::npos) {
            const auto count = ::recv(client, buffer, sizeof buffer, 0);
            if (count <= 0) break;
            head.append(buffer, static_cast<std::size_t>(count));
        }
        IndexRequest request;
        const auto begin = head.find(' ') + 1;
        request.path = head.substr(begin, head.find(' ', begin) - begin);
        if (const auto range = head.find("Range: bytes="); range != std::string::npos) {
            request.range = std::stoul(head.substr(range + 13));
        }
        request.head = head;
        {
            const std::lock_guard lock(mutex_);
            request.number = seen_[request.path]++;
            requests_.push_back(request);
        }
        const IndexAnswer answer = handler_(request);
        for (std::size_t at = 0; at < answer.bytes.size();) {
            const auto count = ::send(client, answer.bytes.data() + at, answer.bytes.size() - at, MSG_NOSIGNAL);
            if (count <= 0) break;
            at += static_cast<std::size_t>(count);
        }
        if (answer.hold) held_.push_back(client);
        else ::close(client);
    }

    Handler handler_;
    int listener_ = -1;
    std::uint16_t port_ = 0;
    std::atomic<bool> stop_ = false;
    mutable std::mutex mutex_;
    std::vector<IndexRequest> requests_;
    std::map<std::string, std::size_t> seen_;
    std::vector<int> held_;
    std::thread thread_;
};

} // namespace lucebox::hub
