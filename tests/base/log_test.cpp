#include "base/log.h"
#include "base/terminal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace lucebox {
namespace {

using testing::HasSubstr;
using testing::Not;

// Everything that `write` logs.
template <class Write>
std::string logged(LogLevel level, LogFormat format, Write write) {
    testing::internal::CaptureStderr();
    configure_log(level, format);
    write();
    configure_log(LogLevel::info, LogFormat::text);
    return testing::internal::GetCapturedStderr();
}

TEST(Log, lines_below_the_level_are_silent) {
    const auto text = logged(LogLevel::warning, LogFormat::text, [] {
        log_info("quiet {}", 1);
        log_warning("loud {}", 2);
    });
    EXPECT_THAT(text, Not(HasSubstr("quiet")));
    EXPECT_THAT(text, HasSubstr("loud 2"));
    EXPECT_EQ(logged(LogLevel::off, LogFormat::text, [] { log_error("nothing"); }), "");
}

TEST(Log, text_from_outside_cannot_forge_a_line_or_move_the_cursor) {
    const auto text =
        logged(LogLevel::info, LogFormat::text, [] { log_info("path {}", "/a\r\n2020 error forged\x1b[2J"); });
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
    EXPECT_THAT(text, Not(HasSubstr("\x1b")));
    EXPECT_THAT(text, HasSubstr("\\x0d\\x0a2020"));
}

TEST(Log, json_lines_parse_whatever_they_quote) {
    const auto text = logged(LogLevel::info, LogFormat::json, [] { log_error("say \"{}\"\\\n\t{}", "hi", 3); });
    const auto line = nlohmann::json::parse(text);
    EXPECT_EQ(line["level"], "error");
    EXPECT_EQ(line["message"], "say \"hi\"\\\n\t3");
}

TEST(Log, no_colours_where_there_is_no_terminal) {
    EXPECT_THAT(logged(LogLevel::info, LogFormat::text, [] { log_error("red?"); }), Not(HasSubstr("\x1b")));
}

TEST(ProgressBar, without_a_terminal_one_plain_line_for_every_tenth) {
    std::vector<std::string> lines;
    const auto start = ProgressBar::Clock::time_point{};
    {
        ProgressBar bar("model", 1000, false, [&](std::string_view text) { lines.emplace_back(text); });
        for (std::uint64_t done = 0; done <= 1000; ++done)
            bar.update(done, start + std::chrono::milliseconds(done));
    }
    ASSERT_EQ(lines.size(), 11u);
    EXPECT_EQ(lines[5], "model  50% 500 B of 1.0 kB, 1.0 kB/s, 0:01 left\n");
    for (const auto& line : lines)
        EXPECT_THAT(line, Not(HasSubstr("\x1b")));
}

TEST(ProgressBar, resumed_bytes_do_not_count_towards_the_speed) {
    std::string last;
    const auto start = ProgressBar::Clock::time_point{};
    ProgressBar bar("model", 100000, false, [&](std::string_view text) { last = text; });
    bar.update(80000, start);
    EXPECT_THAT(last, Not(HasSubstr("/s")));
    bar.update(90000, start + std::chrono::seconds(10));
    EXPECT_THAT(last, HasSubstr(" 90% "));
    EXPECT_THAT(last, HasSubstr("1.0 kB/s, 0:10 left"));
}

TEST(ProgressBar, steps_are_counted_and_have_no_speed) {
    std::string last;
    const auto start = ProgressBar::Clock::time_point{};
    ProgressBar bar("bench", 8, false, [&](std::string_view text) { last = text; }, ProgressUnit::steps);
    bar.update(0, start);
    EXPECT_EQ(last, "bench   0% 0 of 8\n");
    bar.update(2, start + std::chrono::seconds(20));
    EXPECT_EQ(last, "bench  25% 2 of 8, 1:00 left\n");
}

TEST(ProgressBar, terminal_redraws_one_line_at_most_ten_times_a_second) {
    std::string all;
    const auto start = ProgressBar::Clock::time_point{};
    {
        ProgressBar bar("model", 1000, true, [&](std::string_view text) { all += text; });
        for (std::uint64_t done = 0; done < 1000; ++done)
            bar.update(done, start + std::chrono::milliseconds(done));
    }
    EXPECT_EQ(std::count(all.begin(), all.end(), '\r'), 10);
    EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 1);
    EXPECT_EQ(all.back(), '\n');
}

TEST(Terminal, figures_read_as_people_write_them) {
    EXPECT_EQ(human_bytes(999), "999 B");
    EXPECT_EQ(human_bytes(98362432), "98.4 MB");
    EXPECT_EQ(human_bytes(999960), "1.0 MB");
    EXPECT_EQ(human_duration(std::chrono::milliseconds(42400)), "0:42");
    EXPECT_EQ(human_duration(std::chrono::hours(1) + std::chrono::seconds(127)), "1:02:07");
}

} // namespace
} // namespace lucebox
