// Errors are values at every border of the program.
//
// A function that can fail because of the outside world (a file, a request, a flag) returns Result<T>.
// The error carries a kind (which decides exit code and HTTP status), one sentence for a person, and a hint
// that says what to do next. Nothing here throws or allocates beyond its strings.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace lucebox {

enum class ErrorKind {
    usage,         // the command line or a configuration value is wrong
    invalid_data,  // a file or a request holds something malformed
    not_found,     // a file, model, or route that does not exist
    unsupported,   // well-formed, but nothing here handles it
    io,            // the operating system refused
    out_of_memory, // the plan does not fit
    unavailable,   // not now: loading, queue full, shutting down
    cancelled,     // the caller went away
    internal,      // our own bug
};

// Exit codes follow BSD sysexits.h.
constexpr int exit_code(ErrorKind kind) {
    switch (kind) {
    case ErrorKind::usage: return 64;
    case ErrorKind::invalid_data: return 65;
    case ErrorKind::not_found: return 66;
    case ErrorKind::unsupported: return 65;
    case ErrorKind::io: return 74;
    case ErrorKind::out_of_memory: return 71;
    case ErrorKind::unavailable: return 69;
    case ErrorKind::cancelled: return 130;
    case ErrorKind::internal: return 70;
    }
    return 70;
}

struct Error {
    ErrorKind kind = ErrorKind::internal;
    std::string message;   // one sentence, names the field or file at fault
    std::string hint = {}; // what the user can do; may be empty
};

// Either a value or an Error. Check with `if (!result)` before `*result`.
template <class T>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    explicit operator bool() const { return state_.index() == 0; }

    T& operator*() & { assert(*this); return *std::get_if<0>(&state_); }
    const T& operator*() const& { assert(*this); return *std::get_if<0>(&state_); }
    T&& operator*() && { assert(*this); return std::move(*std::get_if<0>(&state_)); }
    T* operator->() { assert(*this); return std::get_if<0>(&state_); }
    const T* operator->() const { assert(*this); return std::get_if<0>(&state_); }

    const Error& error() const { assert(!*this); return *std::get_if<1>(&state_); }

private:
    std::variant<T, Error> state_;
};

// Success carries nothing.
struct Ok {};
using Status = Result<Ok>;

} // namespace lucebox

// Evaluates `expr` (a Result); returns its error from the enclosing function, else binds the value to `name`.
#define LUCEBOX_CONCAT_INNER(a, b) a##b
#define LUCEBOX_CONCAT(a, b) LUCEBOX_CONCAT_INNER(a, b)
#define LUCEBOX_TRY_IMPL(tmp, name, expr)                                                                              \
    auto tmp = (expr);                                                                                                 \
    if (!tmp) return tmp.error();                                                                                      \
    name = std::move(*tmp)
#define LUCEBOX_TRY(name, expr) LUCEBOX_TRY_IMPL(LUCEBOX_CONCAT(lucebox_result_, __LINE__), name, expr)
// The same for a Status.
#define LUCEBOX_CHECK(expr)                                                                                            \
    do {                                                                                                               \
        if (auto lucebox_status = (expr); !lucebox_status) return lucebox_status.error();                              \
    } while (false)
