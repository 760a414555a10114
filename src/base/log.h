// Log lines for operators, on standard error. Nothing is ever written to standard output or asked.
//
// One logger for the process, because libraries below have nowhere else to complain. It may be called from any thread;
// a line is written whole. Text that came from outside is made harmless first: control characters are escaped, so that
// a request cannot forge lines or move the cursor. Callers keep secrets and users' text out of the log.
#pragma once

#include "base/result.h"

#include <fmt/format.h>
#include <string>
#include <string_view>

namespace lucebox {

enum class LogLevel { debug, info, warning, error, off };
enum class LogFormat { text, json };

// Until it is called: info, text, colours if standard error is a terminal that wants them.
void configure_log(LogLevel level, LogFormat format);
LogLevel log_level();

// `text` with control characters, and in JSON also quotes and backslashes, written as escapes.
std::string escaped_for_log(std::string_view text, LogFormat format);

void log_message(LogLevel level, std::string_view message);

template <class... Args>
void log_formatted(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
    if (level >= log_level()) log_message(level, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
    log_formatted(LogLevel::debug, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
    log_formatted(LogLevel::info, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
    log_formatted(LogLevel::warning, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
    log_formatted(LogLevel::error, format, std::forward<Args>(args)...);
}
// The message and, on a line of its own, the hint.
void log_error(const Error& error);

} // namespace lucebox
