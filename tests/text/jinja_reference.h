// The reference renders of tests/data/templates, see the README there.
#pragma once

#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

namespace lucebox::text {

inline std::string read_data(const std::string& name) {
    std::ifstream file("tests/data/templates/" + name, std::ios::binary);
    EXPECT_TRUE(file) << name;
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

// strftime_now prints today's date; the reference has the format of it between brackets instead.
inline std::string put_dates(std::string text) {
    static const std::string open = "⟦", close = "⟧";
    for (std::size_t begin = text.find(open); begin != std::string::npos; begin = text.find(open)) {
        const std::size_t end = text.find(close, begin);
        const std::string format = text.substr(begin + open.size(), end - begin - open.size());
        const std::time_t now = std::time(nullptr);
        std::tm local{};
        localtime_r(&now, &local);
        char date[100];
        const std::size_t size = std::strftime(date, sizeof date, format.c_str(), &local);
        text.replace(begin, end + close.size() - begin, date, size);
    }
    return text;
}

inline Result<std::string> render(std::string_view source, const Json& variables, const TemplateBudget& budget = {}) {
    LUCEBOX_TRY(const ChatTemplate parsed, ChatTemplate::parse(source));
    return parsed.render(variables, budget);
}

} // namespace lucebox::text
