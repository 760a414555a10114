#include "base/file.h"
#include "base/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lucebox {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr OptionSpec table[] = {
    {"port", OptionType::integer, "server", "8080", "0..65535", "serve", "Port to listen on."},
    {"listen-address", OptionType::text, "server", "127.0.0.1", "", "serve", "Address to listen on."},
    {"api-key", OptionType::list, "server", "", "", "serve", "Keys that clients must present.", true},
    {"idle-timeout", OptionType::duration, "server", "60s", "100ms..1h", "serve", "Closes silent connections."},
    {"body-limit", OptionType::bytes, "server", "32M", "1K..", "serve", "Largest request."},
    {"model", OptionType::path, "model", "", "", "serve run", "Model to load."},
    {"temperature", OptionType::number, "sampling", "0.8", "0..2", "run", "Sampling temperature."},
    {"draft", OptionType::choice, "model", "auto", "auto|on|off", "", "Speculative decoding."},
    {"verbose", OptionType::boolean, "log", "false", "", "", "Says more."},
};
constexpr CommandSpec commands[] = {
    {"serve", "", "Serves a model over HTTP."},
    {"run", "PROMPT...", "Answers one prompt."},
};

Result<CommandLine> parse(std::vector<const char*> arguments) {
    return parse_command_line(commands, table, arguments);
}

Result<Options> resolve(std::vector<OptionSetting> settings) {
    return Options::resolve(table, settings, {{"HOME", "/home/ada"}});
}

const OptionSpec& spec(std::string_view name) {
    return *std::find_if(std::begin(table), std::end(table), [&](const auto& s) { return s.name == name; });
}

std::filesystem::path config(const std::string& text) {
    const auto path = std::filesystem::path(testing::TempDir()) /
                      (std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + ".toml");
    EXPECT_TRUE(write_file_atomically(path, std::as_bytes(std::span(text))));
    return path;
}

TEST(Options, defaults_hold_when_nobody_sets_anything) {
    const auto options = resolve({});
    ASSERT_TRUE(options);
    EXPECT_EQ(options->integer("port"), 8080);
    EXPECT_EQ(options->duration("idle-timeout"), std::chrono::minutes(1));
    EXPECT_EQ(options->integer("body-limit"), 32 << 20);
    EXPECT_DOUBLE_EQ(options->number("temperature"), 0.8);
    EXPECT_FALSE(options->is_set("model"));
    EXPECT_EQ(options->entry("port").origin, OptionOrigin::default_value);
}

TEST(Options, flag_beats_environment_beats_file_whatever_their_order) {
    const OptionSetting file{&spec("port"), "1", OptionOrigin::file, "c.toml:1"};
    const OptionSetting variable{&spec("port"), "2", OptionOrigin::environment, "LUCEBOX_PORT"};
    const OptionSetting flag{&spec("port"), "3", OptionOrigin::flag, "--port"};
    EXPECT_EQ(resolve({flag, variable, file})->integer("port"), 3);
    EXPECT_EQ(resolve({variable, file})->integer("port"), 2);
    EXPECT_EQ(resolve({file})->integer("port"), 1);
    EXPECT_EQ(resolve({flag, file})->entry("port").where, "--port");
}

TEST(Options, wrong_values_are_refused_and_the_error_names_their_place) {
    const std::pair<const char*, const char*> wrong[] = {{"port", "65536"},
                                                         {"port", "-1"},
                                                         {"port", "80x"},
                                                         {"port", ""},
                                                         {"temperature", "nan"},
                                                         {"temperature", "3"},
                                                         {"draft", "maybe"},
                                                         {"idle-timeout", "5 parsecs"},
                                                         {"idle-timeout", "99ms"},
                                                         {"body-limit", "-5"},
                                                         {"body-limit", "1000000000T"},
                                                         {"verbose", "2"},
                                                         {"port", "99999999999999999999"}};
    for (const auto& [name, text] : wrong) {
        const auto options = resolve({{&spec(name), text, OptionOrigin::file, "lucebox.toml:7"}});
        ASSERT_FALSE(options) << name << " " << text;
        EXPECT_EQ(options.error().kind, ErrorKind::usage);
        EXPECT_THAT(options.error().message, HasSubstr("lucebox.toml:7"));
        EXPECT_THAT(options.error().message, HasSubstr(text));
    }
}

TEST(Options, flag_repairs_a_broken_variable) {
    const OptionSetting variable{&spec("port"), "tcp://10.0.0.7:80", OptionOrigin::environment, "LUCEBOX_PORT"};
    const auto broken = resolve({variable});
    ASSERT_FALSE(broken);
    EXPECT_THAT(broken.error().hint, HasSubstr("enableServiceLinks"));
    EXPECT_TRUE(resolve({variable, {&spec("port"), "80", OptionOrigin::flag, "--port"}}));
}

TEST(Options, units_scale_to_bytes_and_milliseconds) {
    const auto size = [](const char* text) {
        return resolve({{&spec("body-limit"), text, OptionOrigin::flag, ""}})->integer("body-limit");
    };
    EXPECT_EQ(size("2048"), 2048);
    EXPECT_EQ(size("16K"), 16384);
    EXPECT_EQ(size("1.5 MiB"), 3 << 19);
    EXPECT_EQ(size("4g"), std::int64_t{4} << 30);
    const auto time = [](const char* text) {
        return resolve({{&spec("idle-timeout"), text, OptionOrigin::flag, ""}})->duration("idle-timeout").count();
    };
    EXPECT_EQ(time("250ms"), 250);
    EXPECT_EQ(time("1.5s"), 1500);
    EXPECT_EQ(time("2"), 2000);
    EXPECT_EQ(time("5m"), 300000);
}

TEST(Options, secrets_are_never_shown_not_even_in_errors) {
    const auto options = resolve({{&spec("api-key"), "sesame,second", OptionOrigin::flag, "--api-key"}});
    ASSERT_TRUE(options);
    EXPECT_THAT(options->list("api-key"), ElementsAre("sesame", "second"));
    EXPECT_THAT(options->entry("api-key").shown(), testing::Not(HasSubstr("sesame")));
    constexpr OptionSpec secret_number[] = {{"pin", OptionType::integer, "server", "", "", "", "A pin.", true}};
    const auto failed = Options::resolve(
        secret_number, std::vector<OptionSetting>{{&secret_number[0], "sesame", OptionOrigin::flag, "--pin"}});
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().message, testing::Not(HasSubstr("sesame")));
}

TEST(Options, tilde_is_the_home_directory) {
    EXPECT_EQ(resolve({{&spec("model"), "~/m.gguf", OptionOrigin::flag, "--model"}})->path("model"),
              "/home/ada/m.gguf");
    EXPECT_EQ(resolve({{&spec("model"), "~bob/m", OptionOrigin::flag, "--model"}})->path("model"), "~bob/m");
}

TEST(OptionFlags, long_forms_negations_and_operands_are_understood) {
    const auto line =
        parse({"run", "--temperature=1.5", "--no-verbose", "--draft", "off", "why", "is", "it", "--", "--dashed"});
    ASSERT_TRUE(line) << line.error().message;
    EXPECT_EQ(line->command, "run");
    EXPECT_THAT(line->operands, ElementsAre("why", "is", "it", "--dashed"));
    const auto options = resolve(line->flags);
    ASSERT_TRUE(options);
    EXPECT_DOUBLE_EQ(options->number("temperature"), 1.5);
    EXPECT_FALSE(options->boolean("verbose"));
    EXPECT_EQ(options->entry("verbose").origin, OptionOrigin::flag);
    EXPECT_EQ(options->text("draft"), "off");
    EXPECT_TRUE(resolve(parse({"serve", "--verbose"})->flags)->boolean("verbose"));
}

TEST(OptionFlags, repeated_flag_extends_a_list_and_otherwise_the_last_wins) {
    const auto line = parse({"serve", "--api-key", "a", "--api-key=b,c", "--port", "1", "--port", "2"});
    ASSERT_TRUE(line);
    const auto options = resolve(line->flags);
    EXPECT_THAT(options->list("api-key"), ElementsAre("a", "b", "c"));
    EXPECT_EQ(options->integer("port"), 2);
}

TEST(OptionFlags, negative_value_is_a_value_and_not_a_flag) {
    const auto line = parse({"serve", "--port", "-1"});
    ASSERT_TRUE(line);
    EXPECT_THAT(resolve(line->flags).error().message, HasSubstr("--port: \"-1\""));
}

TEST(OptionFlags, typos_are_errors_that_name_the_nearest) {
    EXPECT_THAT(parse({"serve", "--prot", "1"}).error().hint, HasSubstr("--port"));
    EXPECT_THAT(parse({"serv"}).error().hint, HasSubstr("serve"));
    EXPECT_THAT(parse({"serve", "--temperature", "1"}).error().hint, HasSubstr("run"));
    EXPECT_FALSE(parse({"serve", "stray"}));
    EXPECT_FALSE(parse({"serve", "--port"}));
    EXPECT_FALSE(parse({"serve", "-x"}));
}

TEST(OptionFlags, help_lists_the_options_of_that_command_only) {
    EXPECT_TRUE(parse({"serve", "--help"})->help);
    EXPECT_TRUE(parse({"--help"})->help);
    const auto text = help_text("lucebox", "serve", commands, table);
    EXPECT_THAT(text, HasSubstr("--port N"));
    EXPECT_THAT(text, HasSubstr("default 8080"));
    EXPECT_THAT(text, HasSubstr("\nserver:\n"));
    EXPECT_THAT(text, testing::Not(HasSubstr("--temperature")));
    EXPECT_THAT(help_text("lucebox", "", commands, table), HasSubstr("run"));
}

TEST(OptionEnvironment, variables_are_read_and_near_misses_reported) {
    std::vector<std::string> warnings;
    const Environment environment{
        {"LUCEBOX_PORT", "9000"}, {"LUCEBOX_MODEL", ""}, {"LUCEBOX_IDLE_TIMEOT", "1s"}, {"LUCEBOX_HOST_GPU_NAME", "x"}};
    const auto settings = options_from_environment(table, environment, warnings);
    const auto options = resolve(settings);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->integer("port"), 9000);
    EXPECT_FALSE(options->is_set("model"));
    EXPECT_EQ(options->entry("port").where, "LUCEBOX_PORT");
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_THAT(warnings[0], HasSubstr("LUCEBOX_IDLE_TIMEOUT"));
}

TEST(OptionFile, sections_scalars_and_arrays_are_read_with_their_lines) {
    const auto path = config("[server]\nport = 99\napi_key = ['a', 'b']\nidle-timeout = '2s'\n"
                             "[sampling]\ntemperature = 0.5\n[log]\nverbose = true\n");
    const auto settings = options_from_file(table, path);
    ASSERT_TRUE(settings) << settings.error().message;
    const auto options = resolve(*settings);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->integer("port"), 99);
    EXPECT_THAT(options->list("api-key"), ElementsAre("a", "b"));
    EXPECT_EQ(options->duration("idle-timeout").count(), 2000);
    EXPECT_DOUBLE_EQ(options->number("temperature"), 0.5);
    EXPECT_TRUE(options->boolean("verbose"));
    EXPECT_EQ(options->entry("port").where, path.string() + ":2");
}

TEST(OptionFile, slips_are_errors_with_line_and_suggestion) {
    const auto error = [](const std::string& text) { return options_from_file(table, config(text)).error(); };
    EXPECT_THAT(error("[server]\n\nprot = 1\n").message, HasSubstr(":3: unknown key server.prot"));
    EXPECT_THAT(error("[server]\n\nprot = 1\n").hint, HasSubstr("server.port"));
    EXPECT_THAT(error("[sevrer]\nport = 1\n").hint, HasSubstr("server"));
    EXPECT_THAT(error("[log]\nport = 1\n").message, HasSubstr("[server]"));
    EXPECT_THAT(error("port = 1\n").message, HasSubstr("[server]"));
    EXPECT_THAT(error("[server]\nport = = 1\n").message, HasSubstr(":2: "));
    EXPECT_THAT(error("[server]\nport = [1]\n").message, HasSubstr("single value"));
    EXPECT_EQ(options_from_file(table, "/nonexistent/c.toml").error().kind, ErrorKind::not_found);
}

} // namespace
} // namespace lucebox
