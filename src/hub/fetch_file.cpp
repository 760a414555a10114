#include "hub/fetch_ranges.h"

#include "base/log.h"

#include <fmt/format.h>

#include <cstring>
#include <thread>

namespace lucebox::hub {
namespace {

// What a single request brings, however much the server sends, but never past the expected end.
struct SingleStream {
    CURL* curl = nullptr;
    PartFile& part;
    const FetchProgress& progress;
    std::uint64_t start = 0; // the Range asked for
    bool began = false;
    bool cancelled = false;
    std::string failure = {}; // why taking stopped, if it was us

    // Decided at the first byte, when the status is known.
    bool begin() {
        began = true;
        const long status = status_of(curl);
        if (status == 206) return true;
        if (status != 200) failure = fmt::format("the server answered {}", status);
        else if (!part.restart()) failure = std::strerror(part.write_error());
        return failure.empty();
    }

    std::size_t take(std::string_view data) {
        if (!began && !begin()) return 0;
        if (data.size() > part.bytes() - part.done()) {
            failure = fmt::format("the server sends more than the {} bytes expected", part.bytes());
            return 0;
        }
        if (!part.append(std::as_bytes(std::span(data)))) {
            failure = std::strerror(part.write_error());
            return 0;
        }
        cancelled = progress && !progress(part.done());
        return cancelled ? 0 : data.size();
    }

    // A server that continues elsewhere would corrupt the file.
    bool header(std::string_view line) {
        const ContentRange range = content_range(line);
        if (!range.is_one || status_of(curl) != 206 || (range.reads && range.first == start)) return true;
        failure = "the server continues at another byte than asked";
        return false;
    }
};

Attempt fetch_single(CURL* curl, PartFile& part, const FetchProgress& progress) {
    SingleStream stream{.curl = curl, .part = part, .progress = progress, .start = part.done()};
    const std::string range = fmt::format("{}-", part.done());
    if (part.done() != 0) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
    set_writer(curl, [](char* data, std::size_t size, std::size_t count, void* context) {
        return static_cast<SingleStream*>(context)->take(std::string_view(data, size * count));
    }, &stream);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, +[](char* line, std::size_t size, std::size_t count, void* context) {
        return static_cast<SingleStream*>(context)->header(std::string_view(line, size * count)) ? size * count : std::size_t{0};
    });
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &stream);
    const CURLcode code = curl_easy_perform(curl);
    const long status = status_of(curl);
    using enum Attempt::Outcome;
    if (stream.cancelled || code == CURLE_ABORTED_BY_CALLBACK) return {cancelled, "stopped"};
    if (!stream.failure.empty()) return {may_pass(status) ? interrupted : failed, stream.failure};
    if (part.complete()) return {complete, ""};
    if (code != CURLE_OK) return {is_hopeless(code) ? failed : interrupted, curl_easy_strerror(code)};
    if (status != 200 && status != 206) return {may_pass(status) ? interrupted : failed, fmt::format("the server answered {}", status)};
    return {interrupted, "the connection ended early"};
}

} // namespace

Status fetch_file(const HubSettings& settings, const std::string& url, PartFile& part, const FetchProgress& progress,
                  const RequestRules& rules) {
    const Error stopped{ErrorKind::cancelled, "the download was stopped", "what is there is kept; the next start continues it"};
    if (progress && !progress(part.done())) return stopped;
    auto delay = settings.retry_delay;
    bool by_ranges = settings.connections > 1;
    for (int failures = 0; !part.complete();) {
        const std::uint64_t before = part.done();
        Attempt attempt;
        long status = 0;
        const bool several = by_ranges && (part.bytes() - part.done()) / 2 >= settings.range_bytes;
        if (several) {
            attempt = fetch_ranges(settings, url, part, progress, rules);
        } else {
            LUCEBOX_TRY(const CurlHandle handle, new_request(settings, url, rules));
            attempt = fetch_single(handle.get(), part, progress);
            status = status_of(handle.get());
        }
        if (attempt.outcome == Attempt::Outcome::complete) break;
        if (attempt.outcome == Attempt::Outcome::cancelled) return stopped;
        if (status == 416) part.restart(); // what is there is no beginning of what the server has
        if (part.write_error() != 0) {
            return Error{ErrorKind::io, fmt::format("cannot write {}: {}", part.path().string(), std::strerror(part.write_error())),
                         "make room; the next start continues the download"};
        }
        if (attempt.outcome == Attempt::Outcome::no_ranges || (several && part.done() == before && attempt.outcome == Attempt::Outcome::interrupted)) {
            by_ranges = false; // who does not like ranges, or so many of them, may like a single request
            continue;
        }
        if (part.done() > before) {
            failures = 0;
            delay = settings.retry_delay;
        }
        if (attempt.outcome == Attempt::Outcome::failed || ++failures >= settings.attempts) {
            auto error = network_error(url, attempt.reason);
            if (part.done() > 0) error.hint += "; the next start continues the download";
            return error;
        }
        log_debug("download interrupted at byte {}: {}", part.done(), attempt.reason);
        std::this_thread::sleep_for(delay);
        delay *= 2;
    }
    return Ok{};
}

} // namespace lucebox::hub
