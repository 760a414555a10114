// One value changes; nothing else does; what cannot be done safely is refused.
#include "base/toml_edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lucebox {
namespace {

using testing::HasSubstr;

std::string edited(std::string_view text, std::string_view section, std::string_view key, const std::optional<std::string>& literal) {
    const auto result = edit_toml(text, section, key, literal);
    return result ? *result : "error: " + result.error().message;
}

TEST(TomlEdit, a_value_is_read_as_a_person_would_write_it) {
    const auto value = [](std::string_view key) {
        const auto read = toml_value("[a]\nword = \"x \\\" y\"\nyes = true\nnumber = 0x10\nshare = 0.5\nlist = [1]\n[b]\nother = 1\n", "a", key);
        return read && *read ? **read : "nothing";
    };
    EXPECT_EQ(value("word"), "x \" y");
    EXPECT_EQ(value("yes"), "true");
    EXPECT_EQ(value("number"), "16");
    EXPECT_EQ(value("share"), "0.5");
    EXPECT_EQ(value("list"), "...");
    EXPECT_EQ(value("other"), "nothing");
    EXPECT_FALSE(toml_value("[a\n", "a", "word"));
}
TEST(TomlEdit, a_value_is_set_where_it_stands) {
    EXPECT_EQ(edited("# mine\n[server]\n# why\nport = 1 # old\nhost = \"a\"\n\n[model]\nx = 1\n", "server", "port", "9000"),
              "# mine\n[server]\n# why\nport = 9000\nhost = \"a\"\n\n[model]\nx = 1\n");
}
TEST(TomlEdit, a_new_key_goes_to_the_end_of_its_section) {
    EXPECT_EQ(edited("[server]\nhost = \"a\"\n\n[model]\nx = 1\n", "server", "port", "1"), "[server]\nhost = \"a\"\nport = 1\n\n[model]\nx = 1\n");
    EXPECT_EQ(edited("[server]\n[model]\n", "server", "port", "1"), "[server]\nport = 1\n[model]\n");
}
TEST(TomlEdit, a_new_section_goes_to_the_end) {
    EXPECT_EQ(edited("", "server", "port", "1"), "[server]\nport = 1\n");
    EXPECT_EQ(edited("[a]\nb = 1", "server", "port", "1"), "[a]\nb = 1\n\n[server]\nport = 1\n");
}
TEST(TomlEdit, a_key_is_taken_out) {
    EXPECT_EQ(edited("[server]\nport = 1\nhost = \"a\"\n", "server", "port", std::nullopt), "[server]\nhost = \"a\"\n");
    EXPECT_EQ(edited("[server]\nhost = \"a\"\n", "server", "port", std::nullopt), "[server]\nhost = \"a\"\n");
    EXPECT_EQ(edited("", "server", "port", std::nullopt), "");
}
TEST(TomlEdit, quoted_keys_and_loose_headers_are_found) {
    EXPECT_EQ(edited("[ server ] # here\n\"port\"=1\n", "server", "port", "2"), "[ server ] # here\nport = 2\n");
}
TEST(TomlEdit, the_same_key_elsewhere_is_left_alone) {
    EXPECT_EQ(edited("port = 5\n[other]\nport = 6\n[server]\nport = 7\n", "server", "port", "8"), "port = 5\n[other]\nport = 6\n[server]\nport = 8\n");
}
TEST(TomlEdit, what_cannot_be_changed_safely_is_refused) {
    EXPECT_THAT(edited("server = { port = 1 }\n", "server", "port", "2"), HasSubstr("cannot be changed safely"));
    EXPECT_THAT(edited("server.port = 1\n", "server", "port", "2"), HasSubstr("cannot be changed safely"));
    EXPECT_THAT(edited("[server]\nkeys = [\n  1,\n]\n", "server", "keys", "[2]"), HasSubstr("cannot be changed safely"));
    EXPECT_THAT(edited("[server]\ntext = \"\"\"\nport = 1\n\"\"\"\n", "server", "port", "2"), HasSubstr("cannot be changed safely"));
    EXPECT_THAT(edited("[server\n", "server", "port", "2"), HasSubstr("line 1"));
    EXPECT_THAT(edited("", "server", "port", "[1"), HasSubstr("error"));
}
TEST(TomlEdit, any_text_survives_as_a_string) {
    for (const std::string text : {"", "plain", "a \"b\" \\ c", "tab\tline\n\x01", "ü ☃"}) {
        const std::string file = edited("", "a", "b", toml_string(text));
        EXPECT_EQ(edited(file, "a", "b", toml_string(text)), file) << file;
    }
}

} // namespace
} // namespace lucebox
