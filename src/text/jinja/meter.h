// What a template may spend, and how running out (or any other failure) leaves the interpreter.
//
// Inside src/text/jinja/ a failure is thrown as Failure, because nearly every operation of the language can fail;
// ChatTemplate catches it, so no exception crosses the border of the module.
#pragma once

#include "base/cpu_time.h"
#include "base/result.h"
#include "text/chat_template.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace lucebox::text::jinja {

struct Failure {
    ErrorKind kind = ErrorKind::invalid_data;
    std::string message;
    std::uint32_t line = 0; // 0: filled in by whoever knows it
};

[[noreturn]] inline void fail(std::string message) { throw Failure{ErrorKind::invalid_data, std::move(message)}; }

class Meter {
public:
    explicit Meter(const TemplateBudget& budget)
        : budget_(budget), deadline_(thread_cpu_time() + std::chrono::nanoseconds(budget.time)) {}
    Meter(const Meter&) = delete;
    Meter& operator=(const Meter&) = delete;

    // One step is about one evaluated node, tens of nanoseconds.
    void charge(std::size_t steps) {
        used_ += steps <= budget_.steps ? steps : budget_.steps + 1; // can't overflow
        if (used_ >= next_check_) check();
    }
    // Copying or scanning: 64 bytes (a cache line) cost about as much as a node.
    void charge_bytes(std::size_t bytes) { charge(1 + bytes / 64); }
    // The same where every character is decoded, and perhaps looked up.
    void charge_characters(std::size_t bytes) { charge(1 + bytes / 16); }

    // The same piece by piece, in front of each character at `at` of `size` that is worked on: the clock is looked at in the midst of a
    // long text, too.
    void charge_character_at(std::size_t at, std::size_t size) {
        constexpr std::size_t piece = 4096;
        if (at % piece == 0) charge_characters(std::min(piece, size - at));
    }

    // Refuses a single value or an output of that many bytes.
    void check_size(std::size_t bytes) const {
        if (bytes > budget_.output_bytes) fail("the text grew past the budget of this template");
    }

private:
    friend class Nesting;
    void check();

    static constexpr std::size_t clock_interval = 512; // steps between two looks at the clock

    TemplateBudget budget_;
    std::chrono::nanoseconds deadline_;
    std::size_t used_ = 0;
    std::size_t next_check_ = clock_interval;
    std::size_t depth_ = 0;
};

// One level of recursion, for the time of its scope.
class Nesting {
public:
    explicit Nesting(Meter& meter) : meter_(meter) {
        if (meter_.depth_ >= meter_.budget_.depth) fail("nested too deeply");
        ++meter_.depth_;
    }
    ~Nesting() { --meter_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

private:
    Meter& meter_;
};

} // namespace lucebox::text::jinja
