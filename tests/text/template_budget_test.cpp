// What a hostile template may cost: at most its budget, and then an error. What an honest one needs fits in easily.
//
// The budget is counted in steps, so that what is refused does not depend on the machine; bench/template.cpp measures
// what the steps cost in time.
#include "cpu_time.h"
#include "hostile_templates.h"
#include "jinja_reference.h"

#include <algorithm>
#include <chrono>

namespace lucebox::text {
namespace {

Json conversation(std::size_t turns, std::size_t bytes) {
    Json messages = Json::array();
    for (std::size_t i = 0; i < turns; ++i) {
        messages.push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", std::string(bytes, 'a')}});
    }
    return {{"messages", messages}, {"add_generation_prompt", true}, {"bos_token", "<s>"}, {"eos_token", "</s>"}};
}

class TemplateBudgets : public ::testing::TestWithParam<HostileTemplate> {};

TEST_P(TemplateBudgets, StepsAloneStopIt) {
    TemplateBudget budget;
    budget.time = std::chrono::hours(1); // so that nothing but counting can have stopped it
    const Json variables = conversation(4, 20);
    const double start = cpu_seconds();
    const auto text = render(GetParam().source, variables, budget);
    const double took = cpu_seconds() - start;
    ASSERT_FALSE(text) << "it cost nothing worth refusing";
    EXPECT_EQ(text.error().kind, ErrorKind::invalid_data) << text.error().message;
    // A wide net for steps that cost far more than they are charged; other work on this machine fits in.
    EXPECT_LT(took, 2.0 * sanitizers_slow_down) << text.error().message;
}

TEST_P(TemplateBudgets, ARequestPaysATenthOfASecondAtMost) {
    constexpr double most = 0.1 * sanitizers_slow_down;
    const Json variables = conversation(100, 400);
    std::vector<double> costs; // one, if that is good; else of several the middle
    while (costs.empty() || (costs[0] > most && costs.size() < 5)) {
        const double start = cpu_seconds();
        (void)render(GetParam().source, variables, TemplateBudget{});
        costs.push_back(cpu_seconds() - start);
    }
    std::ranges::sort(costs);
    EXPECT_LT(costs[costs.size() / 2], most);
}

INSTANTIATE_TEST_SUITE_P(Hostile, TemplateBudgets, ::testing::ValuesIn(hostile_templates), [](const auto& instance) {
    std::string name(instance.param.name);
    for (char& c : name) c = c == ' ' ? '_' : c;
    return name;
});

TEST(TemplateBudget, TimeAloneStopsItToo) {
    TemplateBudget budget;
    budget.steps = SIZE_MAX / 2;
    budget.time = std::chrono::milliseconds(20);
    const double start = cpu_seconds();
    const auto text = render(hostile_templates[0].source, conversation(1, 1), budget);
    ASSERT_FALSE(text);
    EXPECT_NE(text.error().message.find("time"), std::string::npos) << text.error().message;
    EXPECT_LT(cpu_seconds() - start, 1.0 * sanitizers_slow_down);
}

TEST(TemplateBudget, TheDefaultIsFiftyMillisecondsAtMost) {
    EXPECT_LE(TemplateBudget{}.time, std::chrono::milliseconds(50));
}

TEST(TemplateBudget, LongConversationsFitInTimesOver) {
    // Published templates, over 1,000 turns and over a megabyte of text: with a third of the default steps.
    for (const char* file : {"smollm2.jinja", "qwen3.jinja", "qwen3_6.jinja", "gemma3.jinja", "deepseek_r1_distill.jinja"}) {
        const std::string source = read_data(file);
        if (source.empty()) continue;
        TemplateBudget budget;
        budget.steps /= 3;
        budget.time = std::chrono::hours(1);
        for (const auto& [turns, bytes] : {std::pair<std::size_t, std::size_t>{1001, 200}, {9, 120'000}}) {
            const auto text = render(source, conversation(turns, bytes), budget);
            EXPECT_TRUE(text) << file << ", " << turns << " turns: " << text.error().message;
        }
    }
}

TEST(TemplateBudget, ReadingADeepTemplateIsRefusedAndALongOneIsLinear) {
    for (const auto& [open, middle, close] : std::initializer_list<std::array<const char*, 3>>{
             {"{% if a %}", "x", "{% endif %}"}, {"{{ (", "1", ") }}"}, {"(", "1", ")"}, {"[", "1", "]"}, {"{'a':", "1", "}"},
             {"not ", "1", ""}, {"-", "1", ""}, {"f(", "1", ")"}, {"a.b", "", ""}, {"a if ", "b", " else c"}, {"2 ** ", "2", ""}}) {
        for (const char* frame : {"", "{{ "}) {
            const std::string source = frame + deep_template(open, middle, close, 100'000) + (*frame ? " }}" : "");
            const double start = cpu_seconds();
            const auto parsed = ChatTemplate::parse(source);
            if (parsed) (void)parsed->render(conversation(1, 1));
            EXPECT_LT(cpu_seconds() - start, 5.0 * sanitizers_slow_down) << open;
        }
    }
}

} // namespace
} // namespace lucebox::text
