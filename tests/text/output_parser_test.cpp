// Model output into reasoning, content and calls.
#include "text/tools/output_parser.h"
#include "cpu_time.h"

#include <gtest/gtest.h>

#include <random>

namespace lucebox::text {
namespace {

using Kind = OutputEvent::Kind;

const Json kTools = Json::parse(R"([
  {"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{
     "city":{"type":"string"},"days":{"type":"integer"},"raw":{"type":"boolean"},"scale":{"type":"number"},
     "o":{"type":"object"},"tags":{"type":"array","items":{"type":"string"}},"note":{"anyOf":[{"type":"string"},{"type":"null"}]},
     "unit":{"$ref":"#/$defs/unit"}},"required":["city"],
     "$defs":{"unit":{"enum":["C","F"]}}}}},
  {"name":"write","input_schema":{"type":"object","properties":{"path":{"type":"string"},"content":{"type":"string"}}}},
  {"type":"function","function":{"name":"ping"}}])");

struct Parsed {
    std::string reasoning, content, broken;
    std::vector<std::pair<std::string, std::string>> calls; // name, arguments
    bool operator==(const Parsed&) const = default;
};

void add(Parsed& parsed, const std::vector<OutputEvent>& events) {
    for (const auto& event : events) {
        if (event.kind == Kind::reasoning) parsed.reasoning += event.text;
        if (event.kind == Kind::content) parsed.content += event.text;
        if (event.kind == Kind::call_broken) parsed.broken += event.text;
        if (event.kind == Kind::call_begin) parsed.calls.emplace_back(event.text, "");
        if (event.kind == Kind::call_arguments) parsed.calls.at(event.call).second += event.text;
    }
}

struct Settings {
    ReasoningMarkers markers = {};
    bool starts_inside = false, stopped = true;
    Json tools = kTools;
};

// Parses it whole, byte by byte and in random pieces, which must agree.
Parsed parse(const std::string& text, const Settings& settings = {}) {
    const ToolSet tools(settings.tools);
    std::vector<Parsed> results;
    std::mt19937 random(1);
    for (const std::size_t most : {text.size() + 1, std::size_t{1}, std::size_t{3}, std::size_t{9}, std::size_t{40}}) {
        OutputParser parser(settings.markers, tools, settings.starts_inside);
        std::vector<OutputEvent> events;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t size = most == 1 ? 1 : most > text.size() ? text.size() : 1 + random() % most;
            parser.push(std::string_view(text).substr(at, size), events);
            at += size;
        }
        parser.finish(settings.stopped, events);
        Parsed parsed;
        add(parsed, events);
        if (!results.empty()) {
            EXPECT_EQ(parsed, results.front()) << text << "\n in pieces of up to " << most << ": " << parsed.content;
        }
        results.push_back(std::move(parsed));
    }
    for (const auto& [name, arguments] : results[0].calls)
        if (results[0].broken.empty()) {
            EXPECT_TRUE(Json::accept(arguments)) << text << "\n  gives " << arguments;
        }
    return results[0];
}

Json arguments(const Parsed& parsed, std::size_t call = 0) {
    if (parsed.calls.size() <= call) return "no such call";
    return Json::parse(parsed.calls[call].second, nullptr, false);
}

TEST(Reasoning, EndsAtItsTagAndIsTrimmed) {
    const auto parsed = parse("<think>\nhm, \n</think>\n\n  Hello <b>\n");
    EXPECT_EQ(parsed.reasoning, "hm,");
    EXPECT_EQ(parsed.content, "  Hello <b>\n");
    const auto inside = parse("A</thin</think>B", {.starts_inside = true});
    EXPECT_EQ(inside.reasoning, "A</thin");
    EXPECT_EQ(inside.content, "B");
    EXPECT_EQ(parse("<think>x</think>y", {.starts_inside = true}).reasoning, "x");
}

TEST(Reasoning, ThatNeverEndsStaysReasoning) {
    const auto parsed = parse("so <tool_call><function=ping></function></tool_call> it goes </thi", {.starts_inside = true});
    EXPECT_EQ(parsed.reasoning, "so <tool_call><function=ping></function></tool_call> it goes </thi");
    EXPECT_TRUE(parsed.calls.empty());
    EXPECT_EQ(parsed.content, "");
}

TEST(Reasoning, TagsInsideContentAreText) {
    EXPECT_EQ(parse("Use <think> and </think>.").content, "Use <think> and </think>.");
    EXPECT_EQ(parse("</think>\nHello").content, "Hello"); // the prompt had it closed already
}

TEST(Reasoning, ChannelsOfGemmaMayComeTwice) {
    const Settings gemma{.markers = {"<|channel>thought", "<channel|>", true}};
    const auto parsed = parse("<|channel>thought\n<channel|><|channel>thought\nwell\n<channel|>It is 20.<channel|>", gemma);
    EXPECT_EQ(parsed.reasoning, "well");
    EXPECT_EQ(parsed.content, "It is 20.");
}

// Found by fuzzing: parse() compares pieces of all sizes, and takes no arguments that are not JSON.
TEST(Calls, ANewlineInFrontOfATagThatIsCutIsStillTheValues) {
    const std::string text = "<tool_call>\n<function=write>\n<parameter=content>\n</tool_craft>\n</parameter>\n</function>\n</tool_call>";
    EXPECT_EQ(arguments(parse(text)), (Json{{"content", "</tool_craft>"}}));
    const std::string empty = "<tool_call>\n<function=write>\n<parameter=content>\n</parameter>\n</function>\n</tool_call>";
    EXPECT_EQ(arguments(parse(empty)), (Json{{"content", ""}}));
}

TEST(Calls, AParametersNameIsOnOneLine) {
    const std::string text = "<function=write>\n<parameter=path>\nx\n<parameter=content\n\n>\ny\n</parameter>\n</function>";
    EXPECT_EQ(arguments(parse(text)), (Json{{"path", "x\n<parameter=content\n\n>\ny"}}));
}

TEST(Calls, ANumberThatAZeroByteFollowsIsText) {
    using namespace std::string_literals;
    EXPECT_EQ(arguments(parse("call:ping{n:5\0\0x}"s)), (Json{{"n", "5\0\0x"s}}));
    EXPECT_EQ(arguments(parse("call:ping{n:\xEF\xBB\xBF" "5}"s)), (Json{{"n", "\xEF\xBB\xBF" "5"s}}));
}

TEST(Content, WithoutToolsOrTagsIsUnchanged) {
    for (const std::string text : {"  a\n\n", "<tool_call>\n{\"name\":\"ping\"}", "call:ping{}", "<", "\n\n\n"})
        EXPECT_EQ(parse(text, {.tools = Json::array()}).content, text);
}

TEST(QwenCall, IsTypedByItsSchema) {
    const auto parsed = parse("Let me see.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nPa\"ris\n</parameter>\n"
                              "<parameter=days>\n2\n</parameter>\n<parameter=raw>\nTrue\n</parameter>\n<parameter=scale>1.5</parameter>\n"
                              "<parameter=o>\n{\"a\": [1, 2.5, \"é\"]}\n</parameter>\n<parameter=note>\nnull\n</parameter>\n"
                              "<parameter=unit>\nC\n</parameter>\n<parameter=extra>\n7\n</parameter>\n</function>\n</tool_call>");
    EXPECT_EQ(parsed.content, "Let me see.");
    ASSERT_EQ(parsed.calls.size(), 1u);
    EXPECT_EQ(parsed.calls[0].first, "get_weather");
    EXPECT_EQ(arguments(parsed), Json::parse(R"({"city":"Pa\"ris","days":2,"raw":true,"scale":1.5,"o":{"a":[1,2.5,"é"]},
                                                "note":null,"unit":"C","extra":7})"));
}

TEST(QwenCall, ValuesKeepWhatLooksLikeTags) {
    const std::string code = "\n<function=x>\n  if (a < b) </function> \"q\" \\ </tool_call>\n\n</parameterx>\ttab";
    const auto parsed = parse("<tool_call>\n<function=write>\n<parameter=content>\n" + code +
                              "\n</parameter>\n<parameter=path>\na.txt\n</parameter>\n</function>\n</tool_call>\n");
    EXPECT_EQ(arguments(parsed), (Json{{"content", code}, {"path", "a.txt"}}));
    EXPECT_EQ(parsed.content, "");
    // Even the end of a whole call is text while the value's own end follows.
    const std::string transcript = "say <function=ping>\n</function>\n</tool_call>\nand go on";
    const auto quoted = parse("<tool_call><function=write><parameter=content>" + transcript + "</parameter></function></tool_call>");
    EXPECT_EQ(arguments(quoted), (Json{{"content", transcript}}));
}

TEST(QwenCall, ForgottenEndsAreForgiven) {
    const Json expected{{"content", "x\ny"}, {"path", "p"}};
    EXPECT_EQ(arguments(parse("<tool_call>\n<function=write>\n<parameter=content>\nx\ny\n<parameter=path>\np\n</function>\n</tool_call>")), expected);
    EXPECT_EQ(arguments(parse("<function=write>\n<parameter=content>\nx\ny\n</parameter>\n<parameter=path>\np\n</parameter>\n</function>")), expected);
    EXPECT_EQ(arguments(parse("<function=write>\n<parameter=content>\nx\ny\n</parameter>\n<parameter=path>\np\n</parameter>\n</tool_call>")), expected);
    EXPECT_EQ(arguments(parse("<function=write>\n<parameter=content>\nx\ny\n</parameter>\n<parameter=path>\np\n</parameter>\n")), expected);
    EXPECT_EQ(arguments(parse("<write><parameter=content>x\ny</parameter><parameter=path>p</parameter></write>")), expected);
    EXPECT_EQ(arguments(parse("<write><parameter=content>x\ny</parameter><parameter=path>p</parameter></function>")), expected);
}

TEST(QwenCall, SeveralInARow) {
    const auto parsed = parse("<tool_call>\n<function=ping>\n</function>\n</tool_call>\n<tool_call>\n<function=get_weather>\n"
                              "<parameter=city>\nRome\n</parameter>\n</function>\n</tool_call>\nDone.");
    ASSERT_EQ(parsed.calls.size(), 2u);
    EXPECT_EQ(parsed.calls[0].second, "{}");
    EXPECT_EQ(arguments(parsed, 1), (Json{{"city", "Rome"}}));
    EXPECT_EQ(parsed.content, "Done.");
}

TEST(QwenCall, KeywordsInParenthesesCount) {
    EXPECT_EQ(arguments(parse("<function=get_weather(city=\"Pa)ris\", days=3, tags=['a'])></function>"))["days"], 3);
    EXPECT_EQ(arguments(parse("<function=get_weather(city=\"Pa)ris\", days=3)></function>"))["city"], "Pa)ris");
    EXPECT_EQ(parse("<function=ping()></function>").calls.size(), 1u);
}

TEST(JsonCall, InAnyWrapping) {
    const Json expected{{"city", "Paris"}, {"days", 2}};
    for (const std::string body : {R"({"name": "get_weather", "arguments": {"city": "Paris", "days": 2}})",
                                   R"({"arguments": {"city": "Paris", "days": "2"}, "name": "get_weather"})",
                                   R"({"type":"function","function":{"name":"get_weather","parameters":{"city":"Paris","days":2}}})",
                                   R"({"name":"get_weather","arguments":"{\"city\":\"Paris\",\"days\":2}"})"}) {
        for (const auto& [open, close] : std::vector<std::pair<std::string, std::string>>{
                 {"<tool_call>\n", "\n</tool_call>"}, {"", ""}, {"<tool_code>", "</tool_code>"}, {"```json\n", "\n```"},
                 {"<function_call>", "</function_call>"}, {"<tool_call>", ""}}) {
            const auto parsed = parse(open + body + close);
            EXPECT_EQ(arguments(parsed), expected) << open + body + close;
            EXPECT_EQ(parsed.content, "") << open + body + close;
        }
    }
}

TEST(JsonCall, IsNoneBehindOtherText) {
    for (const std::string_view before : {"Like this: ", "```js: "}) {
        const std::string text = std::string(before) + R"({"name": "get_weather", "arguments": {"city": "Rome"}})";
        const ToolSet tools(kTools);
        for (const std::size_t piece : {text.size(), std::size_t{3}}) { // however it is cut
            OutputParser parser({}, tools, false);
            std::vector<OutputEvent> events;
            for (std::size_t at = 0; at < text.size(); at += piece) parser.push(std::string_view(text).substr(at, piece), events);
            parser.finish(true, events);
            std::string shown;
            for (const OutputEvent& event : events) {
                EXPECT_EQ(event.kind, OutputEvent::Kind::content);
                shown += event.text;
            }
            EXPECT_EQ(shown, text);
        }
    }
}

TEST(JsonCall, RawLineBreaksInStringsAreRepaired) {
    EXPECT_EQ(arguments(parse("<tool_call>{\"name\":\"write\",\"arguments\":{\"content\":\"a\n\tb\\n\"}}</tool_call>")),
              (Json{{"content", "a\n\tb\n"}}));
}

TEST(JsonCall, AReplyThatFitsTheOnlyToolIsItsArguments) {
    const Settings one{.tools = Json::array({kTools[0]})};
    EXPECT_EQ(arguments(parse(R"( {"city": "Paris", "days": 1})", one)), (Json{{"city", "Paris"}, {"days", 1}}));
    for (const std::string text : {R"({"days": 1})", R"({"city": 5})", R"({"city": "P", "who": 1})", R"({"answer": 42})"}) {
        EXPECT_EQ(parse(text, one).content, text);
        EXPECT_TRUE(parse(text, one).calls.empty());
    }
}

TEST(LagunaCall, WithAndWithoutItsWrapper) {
    const Json expected{{"city", "Paris\n"}, {"days", 2}};
    for (const std::string text : {"<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris\n</arg_value><arg_key>days</arg_key><arg_value>2</arg_value></tool_call>",
                                   "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris\n</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
                                   "get_weather<arg_key>city</arg_key><arg_value>Paris\n</arg_value><arg_key>days</arg_key><arg_value>2</arg_value>"}) {
        EXPECT_EQ(arguments(parse(text)), expected) << text;
        EXPECT_EQ(parse("Hm.\n" + text).content, "Hm.");
    }
    EXPECT_EQ(parse("<tool_call>ping</tool_call>").calls.size(), 1u);
}

TEST(GemmaCall, ConvertsItsValues) {
    const Settings tools{.markers = {"<|channel>thought", "<channel|>", true}};
    const auto parsed = parse("<|tool_call>call:get_weather{city:<|\"|>Pa\"ris {x}<|\"|>,days:2,o:{theme:<|\"|>dark<|\"|>,l:[{a:1},[],{}],n:null},"
                              "raw:true,scale:1.5e10,tags:[<|\"|>a<|\"|>,<|\"|>b<|\"|>]}<tool_call|><|tool_call>call:ping{}<tool_call|><|tool_response>", tools);
    ASSERT_EQ(parsed.calls.size(), 2u);
    EXPECT_EQ(arguments(parsed), Json::parse(R"({"city":"Pa\"ris {x}","days":2,"o":{"theme":"dark","l":[{"a":1},[],{}],"n":null},
                                                "raw":true,"scale":1.5e10,"tags":["a","b"]})"));
    EXPECT_EQ(parsed.calls[1].second, "{}");
    EXPECT_EQ(parsed.content, "");
    EXPECT_EQ(arguments(parse("call:api:get_weather{city: Paris, days: \"2\"}")), (Json{{"city", "Paris"}, {"days", 2}}));
    EXPECT_TRUE(parse("You may call:ping{} now").calls.empty());
}

TEST(InvokeCall, InItsBlock) {
    const auto parsed = parse("<function_calls>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Rome</parameter>\n"
                              "<parameter name=\"days\">4</parameter>\n</invoke>\n<invoke name=\"ping\"></invoke>\n</function_calls>");
    ASSERT_EQ(parsed.calls.size(), 2u);
    EXPECT_EQ(arguments(parsed), (Json{{"city", "Rome"}, {"days", 4}}));
    EXPECT_EQ(parsed.content, "");
}

TEST(BrokenCall, OfAnUnknownToolIsText) {
    for (const std::string text : {"<tool_call>\n<function=rm>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
                                   "<tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>", "<tool_call>oops",
                                   "<|tool_call>call:rm{}<tool_call|>", "{\"a\": 1} and more", "<tool_call>", "`<tool_call>`<function=",
                                   "a <function=ping and no end", "```json\n[1]\n```", "get_weather is a tool\nwrite\nping<arg"}) {
        const auto parsed = parse(text);
        EXPECT_EQ(parsed.content, text);
        EXPECT_TRUE(parsed.calls.empty()) << text;
    }
}

TEST(BrokenCall, BehindItAWholeOneStillCounts) {
    const auto parsed = parse("<tool_call> oops <tool_call>\n<function=ping>\n</function>\n</tool_call>");
    EXPECT_EQ(parsed.content, "<tool_call> oops");
    EXPECT_EQ(parsed.calls.size(), 1u);
}

TEST(BrokenCall, ThatWasAnnouncedComesBackWhole) {
    const std::string text = "<tool_call>\n<function=write>\n<parameter=content>\nhalf a fi";
    const auto parsed = parse(text, {.stopped = false});
    EXPECT_EQ(parsed.broken, text);
    EXPECT_EQ(parse("<tool_call>{\"name\":\"ping\",\"arguments\":{]}</tool_call>").broken.substr(0, 12), "<tool_call>{");
}

TEST(OutputParser, StreamsArgumentsWhileTheyGrow) {
    const ToolSet tools(kTools);
    OutputParser parser({}, tools, false);
    std::vector<OutputEvent> events;
    parser.push("<tool_call>\n<function=write>\n<parameter=content>\nline one\nline", events);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].kind, Kind::call_begin);
    EXPECT_EQ(events[1].text, "{\"content\":\"line one\\nline");
}

TEST(OutputParser, TakesLinearTimeForHostileText) {
    const ToolSet tools(kTools);
    const std::vector<std::string> pieces{"<tool_call>", "<tool_call>{\"arguments\":{\"a\":\"", "</function></tool_call><", "<function=write><parameter=content>",
                                          "\n", "<", "{", "call:", "</function>\n</tool_call>", "get_weather", "`", "<parameter=path", "[{\"name\":"};
    for (const std::string& first : pieces) {
        for (const std::string& piece : pieces) {
            std::string text = "<tool_call><function=write><parameter=content>" + first;
            if (first.size() % 2) text = first;
            while (text.size() < 60'000 / sanitizers_shorten) text += piece;
            const auto begin = cpu_seconds();
            OutputParser parser({}, tools, false);
            std::vector<OutputEvent> events;
            for (std::size_t at = 0; at < text.size(); at += 7) parser.push(std::string_view(text).substr(at, 7), events);
            parser.finish(true, events);
            EXPECT_LT(cpu_seconds() - begin, 1.0) << first << " " << piece;
        }
    }
}

} // namespace
} // namespace lucebox::text
