#include "server/api/model_card.h"

#include <gmock/gmock.h>

#include <fstream>
#include <unistd.h>

namespace lucebox::server {
namespace {

using testing::HasSubstr;

std::string card(std::string_view more = "") {
    return std::string(R"({"name":"M","source":"here","verified_at":"2026-01-01","max_tokens":20000)") + std::string(more) + "}";
}

TEST(ModelCard, IsNamedAsTheModel) {
    EXPECT_EQ(model_card_file_name("Qwen3.6-27B"), "qwen3.6-27b.json");
    EXPECT_EQ(model_card_file_name("Gemma 4_31B\tit (Q4)"), "gemma-4-31b-it-q4.json");
    EXPECT_EQ(model_card_file_name("../x/.."), "..x...json"); // no folder of another
}

TEST(ModelCard, SaysHowToSampleAndHowLongToThink) {
    decode::SamplingParams defaults;
    defaults.min_p = 0.125F;
    const auto read = parse_model_card(card(R"(,"hard_limit_reply_budget":4000,"sampling":{"temperature":0.75,"top_k":20},"thinking_terminator_hint":"Enough.\n</think>\n\n")"), defaults);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->sampling.temperature, 0.75F);
    EXPECT_EQ(read->sampling.top_k, 20);
    EXPECT_EQ(read->sampling.min_p, 0.125F);
    EXPECT_EQ(read->closing, "Enough.\n</think>\n\n");
    const Budgets& budgets = read->budgets;
    EXPECT_EQ(budgets.source, "card");
    EXPECT_EQ(budgets.thinking, 16'000u);
    EXPECT_EQ(budgets.tier("low"), 2000u);
    EXPECT_EQ(budgets.tier("medium"), 8000u);
    EXPECT_EQ(budgets.tier("high"), 16'000u);
    EXPECT_EQ(budgets.tier("max"), 16'000u);
    EXPECT_EQ(budgets.tier("whatever"), budgets.high);
}

TEST(ModelCard, HardProblemsMayTakeLongerAndTiersNeverFall) {
    const auto complex = parse_model_card(card(R"(,"complex_problem_max_tokens":50000)"));
    ASSERT_TRUE(complex);
    EXPECT_EQ(complex->budgets.most, 50'000u - 4096);
    EXPECT_EQ(complex->budgets.x_high, (complex->budgets.high + complex->budgets.most) / 2);
    const auto falling = parse_model_card(card(R"(,"reasoning_effort_tiers":{"low":5000,"medium":1000,"high":7000,"max":2000})"));
    ASSERT_TRUE(falling);
    EXPECT_EQ(falling->budgets.medium, 5000u);
    EXPECT_EQ(falling->budgets.most, std::max<std::size_t>(falling->budgets.x_high, 7000));
    const auto small = parse_model_card(R"({"name":"M","source":"s","verified_at":"d","max_tokens":4096})");
    ASSERT_TRUE(small);
    EXPECT_EQ(small->budgets.thinking, 2048u) << "a card of short answers must not forbid all thought";
}

TEST(ModelCard, MistakesAreNamed) {
    for (const auto& [text, word] : std::vector<std::pair<std::string, std::string>>{{"{", "JSON"},
                                                                                    {R"({"name":"M"})", "source"},
                                                                                    {R"({"name":"M","source":"s","verified_at":"d"})", "max_tokens"},
                                                                                    {card(R"(,"hard_limit_reply_budget":10)"), "hard_limit_reply_budget"},
                                                                                    {card(R"(,"sampling":{"top_p":2})"), "sampling.top_p"},
                                                                                    {card(R"(,"reasoning_effort_tiers":{"low":"x"})"), "reasoning_effort_tiers.low"}}) {
        const auto read = parse_model_card(text);
        ASSERT_FALSE(read) << text;
        EXPECT_THAT(read.error().message, HasSubstr(word));
    }
}

TEST(ModelCard, IsFoundInFoldersBeforeTheBuiltInOnes) {
    std::string folder = (std::filesystem::temp_directory_path() / "cards-XXXXXX").string();
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    std::ofstream(std::filesystem::path(folder) / "qwen3.6-27b.json") << card();
    const std::filesystem::path with[] = {"/nonexistent", folder};
    const auto own = find_model_card("Qwen3.6-27B", with);
    ASSERT_TRUE(own && *own);
    EXPECT_EQ((*own)->json["name"], "M");
    const auto built_in = find_model_card("Qwen3.6-27B", {});
    ASSERT_TRUE(built_in && *built_in);
    EXPECT_EQ((*built_in)->budgets.high, 32'256u);
    EXPECT_EQ((*built_in)->sampling.top_k, 20);
    const auto none = find_model_card("Nobody", with);
    ASSERT_TRUE(none);
    EXPECT_FALSE(*none);
    std::ofstream(std::filesystem::path(folder) / "broken.json") << "{";
    const auto broken = find_model_card("broken", with);
    ASSERT_FALSE(broken);
    EXPECT_THAT(broken.error().message, HasSubstr("broken.json"));
    std::filesystem::remove_all(folder);
}

TEST(ModelCard, ALimitOfThoughtHoldsForEveryEffort) {
    Budgets budgets = family_budgets("qwen35");
    const std::size_t low = budgets.low;
    budgets.limit_thinking(low + 1);
    EXPECT_EQ(budgets.low, low);
    for (const std::size_t each : {budgets.thinking, budgets.medium, budgets.high, budgets.x_high, budgets.most}) EXPECT_EQ(each, low + 1);
}

TEST(ModelCard, AllThatAreBuiltInCanBeRead) {
    EXPECT_GE(built_in_cards().size(), 4u);
    for (const BuiltInCard& one : built_in_cards()) {
        const auto read = parse_model_card(one.text);
        ASSERT_TRUE(read) << one.file_name << ": " << read.error().message;
        EXPECT_EQ(model_card_file_name(read->json["name"].get<std::string>()), one.file_name);
        EXPECT_GT(read->budgets.thinking, 0u);
    }
}

TEST(ModelCard, AModelWithoutOneHasItsFamilys) {
    EXPECT_EQ(family_budgets("qwen35").answer, 32'768u);
    EXPECT_EQ(family_budgets("gemma4").answer, 16'384u);
    EXPECT_EQ(family_budgets("laguna").thinking, 28'672u);
    EXPECT_EQ(family_budgets("llama").answer, 16'000u);
    EXPECT_EQ(family_budgets("llama").source, "fallback");
}

} // namespace
} // namespace lucebox::server
