#include "base/terminal.h"

#include "base/options.h"

#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

namespace lucebox {
namespace {

constexpr int bar_cells = 24;
constexpr auto redraw_interval =
    std::chrono::milliseconds(100); // fast enough to look alive, slow enough to cost nothing

void write_to_stderr(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
}

} // namespace

bool is_terminal(int descriptor) {
    return ::isatty(descriptor) == 1;
}

bool wants_colours(int descriptor) {
    if (!is_terminal(descriptor)) return false;
    const Environment environment = process_environment();
    const auto no_colour = environment.find("NO_COLOR");
    if (no_colour != environment.end() && !no_colour->second.empty()) return false;
    const auto term = environment.find("TERM");
    return term != environment.end() && term->second != "dumb";
}

std::string human_bytes(std::uint64_t bytes) {
    constexpr const char* units[] = {"kB", "MB", "GB", "TB"};
    if (bytes < 1000) return fmt::format("{} B", bytes);
    double value = static_cast<double>(bytes) / 1000;
    std::size_t unit = 0;
    while (value >= 999.95 && unit + 1 < std::size(units))
        value /= 1000, ++unit;
    return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string human_duration(std::chrono::milliseconds duration) {
    const auto seconds = (duration.count() + 500) / 1000;
    if (seconds >= 3600) return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
}

ProgressBar::ProgressBar(std::string label, std::uint64_t total, ProgressUnit unit)
    : ProgressBar(std::move(label), total, is_terminal(STDERR_FILENO), write_to_stderr, unit) {}

ProgressBar::ProgressBar(std::string label, std::uint64_t total, bool terminal, Sink sink, ProgressUnit unit)
    : label_(std::move(label)), total_(total), terminal_(terminal), sink_(std::move(sink)), unit_(unit) {}

ProgressBar::~ProgressBar() {
    finish();
}

std::string ProgressBar::line(Clock::time_point now) const {
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = seconds > 0 ? static_cast<double>(done_ - first_done_) / seconds : 0;
    std::string text = label_ + " ";
    if (total_ != 0 && terminal_) {
        const auto filled = static_cast<int>(done_ >= total_ ? bar_cells : done_ * bar_cells / total_);
        text += fmt::format("[{:#<{}}{:.<{}}] ", "", filled, "", bar_cells - filled);
    }
    if (total_ != 0) text += fmt::format("{:3}% ", done_ >= total_ ? 100 : done_ * 100 / total_);
    const auto amount = [&](std::uint64_t value) { return unit_ == ProgressUnit::bytes ? human_bytes(value) : std::to_string(value); };
    text += amount(done_);
    if (total_ != 0) text += " of " + amount(total_);
    const bool speaks = rate >= 1 || (unit_ == ProgressUnit::steps && rate > 0);
    if (speaks) {
        if (unit_ == ProgressUnit::bytes) text += fmt::format(", {}/s", human_bytes(static_cast<std::uint64_t>(rate)));
        if (done_ < total_) {
            const double left = static_cast<double>(total_ - done_) / rate * 1000;
            text += ", " + human_duration(std::chrono::milliseconds(static_cast<std::int64_t>(left))) + " left";
        }
    }
    return text;
}

void ProgressBar::draw(Clock::time_point now) {
    drawn_ = now;
    if (terminal_)
        sink_("\r\x1b[K" + line(now)); // back to the line's start, erase to its end
    else
        sink_(line(now) + "\n");
    open_line_ = terminal_;
}

void ProgressBar::update(std::uint64_t done, Clock::time_point now) {
    const bool first = !started_;
    if (first) {
        started_ = true;
        start_ = now;
        first_done_ = done;
        tenth_ = total_ == 0 ? 0 : done * 10 / total_;
    }
    done_ = done < first_done_ ? first_done_ : done;
    const bool complete = total_ != 0 && done_ >= total_;
    if (terminal_) {
        if (first || complete || now - drawn_ >= redraw_interval) draw(now);
        return;
    }
    const std::uint64_t tenth = total_ == 0 ? 0 : done_ * 10 / total_;
    if (first || tenth > tenth_) draw(now);
    tenth_ = tenth;
}

void ProgressBar::finish() {
    if (open_line_) sink_("\n");
    open_line_ = false;
}

} // namespace lucebox
