// What a person at a terminal sees: whether there is one, whether it wants colours, and how far a long task has come.
//
// Nothing here asks a question or reads input. A ProgressBar is used by one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace lucebox {

bool is_terminal(int descriptor);
// A terminal, not TERM=dumb, and NO_COLOR unset or empty (https://no-color.org).
bool wants_colours(int descriptor);

std::string human_bytes(std::uint64_t bytes); // "93.8 MB": powers of 1000, as download sizes are given
std::string human_duration(std::chrono::milliseconds duration); // "0:42", "1:02:07"

// What a task's progress is counted in.
enum class ProgressUnit { bytes, steps };

// Progress of a task. On a terminal one line is redrawn; elsewhere a plain line appears at every
// tenth.
class ProgressBar {
public:
    using Clock = std::chrono::steady_clock;
    using Sink = std::function<void(std::string_view)>;

    // Writes to standard error. total 0: unknown size.
    ProgressBar(std::string label, std::uint64_t total, ProgressUnit unit = ProgressUnit::bytes);
    // For tests: everything that is otherwise taken from the process.
    ProgressBar(std::string label, std::uint64_t total, bool terminal, Sink sink, ProgressUnit unit = ProgressUnit::bytes);
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;
    ~ProgressBar(); // ends the line if finish() did not

    // `done` counts from the task's beginning; the first call sets where this run started, so that a resumed download
    // does not claim the speed of bytes it never fetched.
    void update(std::uint64_t done, Clock::time_point now = Clock::now());
    void finish();

private:
    std::string line(Clock::time_point now) const;
    void draw(Clock::time_point now);

    std::string label_;
    std::uint64_t total_;
    bool terminal_;
    Sink sink_;
    ProgressUnit unit_;
    std::uint64_t done_ = 0;
    std::uint64_t first_done_ = 0;
    Clock::time_point start_{};
    Clock::time_point drawn_{};
    std::uint64_t tenth_ = 0; // the last one reported without a terminal
    bool started_ = false;
    bool open_line_ = false;
};

} // namespace lucebox
