#include "hub/fetch_ranges.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>

namespace lucebox::hub {
namespace {

constexpr int poll_ms = 1000;

struct MultiDeleter {
    void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};

class Ranges {
public:
    Ranges(const HubSettings& settings, const std::string& url, PartFile& part, const FetchProgress& progress, const RequestRules& rules)
        : settings_(settings), url_(url), part_(part), progress_(progress), rules_(rules), multi_(curl_multi_init()), next_(part.done()),
          allowed_(static_cast<std::size_t>(std::max(settings.connections, 1))) {
        // Connections of their own, not streams in one.
        if (multi_) curl_multi_setopt(multi_.get(), CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    }
    ~Ranges() {
        for (Range& range : ranges_) drop(range);
    }
    Ranges(const Ranges&) = delete;
    Ranges& operator=(const Ranges&) = delete;

    Attempt run() {
        if (!multi_) return {Attempt::Outcome::failed, "cannot start the download library"};
        while (!over_ && !part_.complete()) {
            start_what_may();
            int running = 0;
            const CURLMcode code = curl_multi_perform(multi_.get(), &running);
            if (code != CURLM_OK) return {Attempt::Outcome::failed, curl_multi_strerror(code)};
            take_what_ended();
            if (!over_ && !part_.complete() && running > 0) curl_multi_poll(multi_.get(), nullptr, 0, poll_ms, nullptr);
        }
        return over_ ? end_ : Attempt{Attempt::Outcome::complete, ""};
    }

private:
    struct Range {
        Ranges* owner = nullptr;
        std::uint64_t at = 0, end = 0; // the next byte that it wants, and the one that it wants no more
        std::string ahead;             // arrived, and not yet the file's turn
        CurlHandle handle;             // none: waits, or is complete
        std::string asked;             // libcurl keeps no copy of some strings
        std::uint64_t asked_at = 0;
        bool began = false, refused = false;
        std::string problem;

        bool complete() const { return at == end; }
    };

    bool is_first(const Range& range) const { return &range == &ranges_.front(); }
    std::size_t active() const { return static_cast<std::size_t>(std::ranges::count_if(ranges_, [](const Range& range) { return range.handle != nullptr; })); }

    void end(Attempt::Outcome outcome, std::string reason) {
        if (!over_) end_ = {outcome, std::move(reason)};
        over_ = true;
    }

    void start_what_may() {
        for (Range& range : ranges_) {
            if (!over_ && range.handle == nullptr && !range.complete() && active() < allowed_) start(range);
        }
        // Until the server has shown that it knows ranges, there is one.
        const std::size_t most = knows_ranges_ ? 2 * allowed_ : 1;
        while (!over_ && next_ < part_.bytes() && ranges_.size() < most && active() < allowed_) {
            Range& range = ranges_.emplace_back();
            range.owner = this;
            range.at = next_;
            next_ = range.end = std::min(next_ + settings_.range_bytes, part_.bytes());
            start(range);
        }
    }

    void start(Range& range) {
        auto handle = new_request(settings_, url_, rules_);
        if (!handle) return end(Attempt::Outcome::failed, handle.error().message);
        range.handle = std::move(*handle);
        range.asked = fmt::format("{}-{}", range.at, range.end - 1);
        range.asked_at = range.at;
        range.began = range.refused = false;
        range.problem.clear();
        CURL* curl = range.handle.get();
        curl_easy_setopt(curl, CURLOPT_RANGE, range.asked.c_str());
        curl_easy_setopt(curl, CURLOPT_PRIVATE, &range);
        set_writer(curl, [](char* data, std::size_t size, std::size_t count, void* context) {
            auto& of = *static_cast<Range*>(context);
            return of.owner->take(of, std::string_view(data, size * count));
        }, &range);
        curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, +[](char* line, std::size_t size, std::size_t count, void* context) {
            auto& of = *static_cast<Range*>(context);
            return of.owner->header(of, std::string_view(line, size * count)) ? size * count : std::size_t{0};
        });
        curl_easy_setopt(curl, CURLOPT_HEADERDATA, &range);
        curl_multi_add_handle(multi_.get(), curl);
    }

    void drop(Range& range) {
        if (range.handle != nullptr) curl_multi_remove_handle(multi_.get(), range.handle.get());
        range.handle.reset();
    }

    bool header(Range& range, std::string_view line) {
        const ContentRange stated = content_range(line);
        if (!stated.is_one || status_of(range.handle.get()) != 206) return true;
        if (!stated.reads || stated.first != range.asked_at) range.problem = "the server continues at another byte than asked";
        else if (stated.total != 0 && stated.total != part_.bytes()) range.problem = fmt::format("the server's file has {} bytes instead of {}", stated.total, part_.bytes());
        range.refused = !range.problem.empty();
        return !range.refused;
    }

    // What curl asks for: how much was taken; less than was given ends the request.
    std::size_t take(Range& range, std::string_view data) {
        if (!range.began) {
            const long status = status_of(range.handle.get());
            if (status == 200) {
                end(Attempt::Outcome::no_ranges, "the server sends whole files only");
                return 0;
            }
            if (status != 206) return data.size(); // an error's page; the status is judged at its end
            range.began = knows_ranges_ = true;
        }
        // More than was asked for is left.
        const std::string_view wanted = data.substr(0, std::min<std::uint64_t>(data.size(), range.end - range.at));
        if (is_first(range)) {
            if (!write(wanted)) return 0;
        } else {
            range.ahead += wanted;
        }
        range.at += wanted.size();
        return wanted.size();
    }

    bool write(std::string_view data) {
        if (!part_.append(std::as_bytes(std::span(data)))) {
            end(Attempt::Outcome::failed, std::strerror(part_.write_error()));
            return false;
        }
        if (!progress_ || progress_(part_.done())) return true;
        end(Attempt::Outcome::cancelled, "stopped");
        return false;
    }

    void take_what_ended() {
        int left = 0;
        while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
            if (message->msg != CURLMSG_DONE) continue;
            Range* range = nullptr;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &range);
            const CURLcode code = message->data.result;
            const long status = status_of(range->handle.get());
            drop(*range);
            if (!range->complete()) judge(*range, code, status);
        }
        while (!over_ && !ranges_.empty() && ranges_.front().complete()) {
            drop(ranges_.front());
            ranges_.pop_front();
            if (ranges_.empty()) break;
            // Its turn has come.
            const std::string ahead = std::move(ranges_.front().ahead);
            ranges_.front().ahead.clear();
            if (!ahead.empty()) write(ahead);
        }
    }

    void judge(Range& range, CURLcode code, long status) {
        if (over_) return;
        if (code == CURLE_ABORTED_BY_CALLBACK) return end(Attempt::Outcome::cancelled, "stopped");
        if (!is_first(range)) { // perhaps there are too many of us
            allowed_ = std::max<std::size_t>(allowed_ - 1, 1);
            return;
        }
        if (range.at > range.asked_at && !range.refused) return; // it will be asked for the rest
        std::string reason = range.problem;
        if (reason.empty()) reason = code != CURLE_OK && code != CURLE_WRITE_ERROR ? curl_easy_strerror(code) : status != 206 ? fmt::format("the server answered {}", status) : "the connection ended early";
        const bool final = range.refused || is_hopeless(code) || (code == CURLE_OK && status != 206 && !may_pass(status));
        end(final ? Attempt::Outcome::failed : Attempt::Outcome::interrupted, reason);
    }

    const HubSettings& settings_;
    const std::string& url_;
    PartFile& part_;
    const FetchProgress& progress_;
    const RequestRules& rules_;
    std::unique_ptr<CURLM, MultiDeleter> multi_;
    std::deque<Range> ranges_; // in the order of the file; the first begins where the file ends
    std::uint64_t next_ = 0;
    std::size_t allowed_ = 1;
    bool knows_ranges_ = false, over_ = false;
    Attempt end_;
};

} // namespace

Attempt fetch_ranges(const HubSettings& settings, const std::string& url, PartFile& part, const FetchProgress& progress,
                     const RequestRules& rules) {
    return Ranges(settings, url, part, progress, rules).run();
}

} // namespace lucebox::hub
