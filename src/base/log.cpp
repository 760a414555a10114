#include "base/log.h"

#include "base/terminal.h"

#include <atomic>
#include <memory>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <unistd.h>

namespace lucebox {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
    case LogLevel::off: return spdlog::level::off;
    }
    return spdlog::level::off;
}

struct Logger {
    std::atomic<LogLevel> level{LogLevel::info};
    std::atomic<LogFormat> format{LogFormat::text};
    spdlog::logger sink;

    Logger() : sink("lucebox", std::make_shared<spdlog::sinks::ansicolor_stderr_sink_mt>()) {
        sink.set_level(spdlog::level::trace); // `level` decides
        sink.flush_on(spdlog::level::trace);
        configure(LogLevel::info, LogFormat::text);
    }

    void configure(LogLevel new_level, LogFormat new_format) {
        const bool json = new_format == LogFormat::json;
        auto& ansi = static_cast<spdlog::sinks::ansicolor_stderr_sink_mt&>(*sink.sinks().front());
        ansi.set_color_mode(!json && wants_colours(STDERR_FILENO) ? spdlog::color_mode::always
                                                                  : spdlog::color_mode::never);
        ansi.set_formatter(std::make_unique<spdlog::pattern_formatter>(
            json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":"%v"})"
                 : "%Y-%m-%dT%H:%M:%S.%eZ %^%-7l%$ %v",
            spdlog::pattern_time_type::utc));
        level = new_level;
        format = new_format;
    }
};

// Constructed on first use and never destroyed: threads may still log while the process exits.
Logger& logger() {
    static Logger* const instance = new Logger; // NOLINT: see above
    return *instance;
}

} // namespace

std::string escaped_for_log(std::string_view text, LogFormat format) {
    std::string result;
    result.reserve(text.size());
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (format == LogFormat::json && (c == '"' || c == '\\'))
            (result += '\\') += c;
        else if (byte < 0x20 || byte == 0x7f) {
            result += format == LogFormat::json ? fmt::format("\\u{:04x}", byte) : fmt::format("\\x{:02x}", byte);
        } else
            result += c;
    }
    return result;
}

void configure_log(LogLevel level, LogFormat format) {
    logger().configure(level, format);
}
LogLevel log_level() {
    return logger().level.load(std::memory_order_relaxed);
}

void log_message(LogLevel level, std::string_view message) {
    Logger& to = logger();
    if (level < to.level || level == LogLevel::off) return;
    to.sink.log(to_spdlog(level), spdlog::string_view_t(escaped_for_log(message, to.format)));
}

void log_error(const Error& error) {
    log_message(LogLevel::error, error.message);
    if (!error.hint.empty()) log_message(LogLevel::error, "hint: " + error.hint);
}

} // namespace lucebox
