// The template language against Jinja2: every snippet of tools/template_snippets.py.
#include "jinja_reference.h"

namespace lucebox::text {
namespace {

TEST(TemplateLanguage, RendersWhatJinja2Renders) {
    const Json data = Json::parse(read_data("language.json"));
    std::size_t wrong = 0;
    for (const Json& reference : data["cases"]) {
        const std::string source = reference["template"];
        const auto text = render(source, data["variables"]);
        if (reference.contains("error")) {
            wrong += text ? 1 : 0;
            EXPECT_FALSE(text) << source << "\n  gives: " << *text;
        } else if (text) {
            wrong += *text != reference["text"] ? 1 : 0;
            EXPECT_EQ(*text, reference["text"].get<std::string>()) << source;
        } else {
            ++wrong;
            ADD_FAILURE() << source << "\n  fails: " << text.error().message;
        }
    }
    EXPECT_EQ(wrong, 0u) << "of " << data["cases"].size();
    EXPECT_GT(data["cases"].size(), 1000u);
}

} // namespace
} // namespace lucebox::text
