// The chat templates of published models against Jinja2.
#include "jinja_reference.h"

#include <map>

namespace lucebox::text {
namespace {

TEST(ChatTemplate, RendersPublishedTemplatesAsJinja2Does) {
    const Json data = Json::parse(read_data("models.json"));
    std::map<std::string, ChatTemplate> templates;
    std::map<std::string, std::string> texts; // by template, conversation and options
    std::size_t wrong = 0;
    for (const Json& reference : data["cases"]) {
        const std::string name = reference["template"];
        if (!templates.contains(name)) {
            auto parsed = ChatTemplate::parse(read_data(name));
            ASSERT_TRUE(parsed) << name << ": " << parsed.error().message;
            templates.emplace(name, std::move(*parsed));
        }
        const std::string conversation = reference["conversation"];
        const int options = reference["options"];
        const std::string label = name + " " + conversation + " ";
        Json variables = data["common"];
        variables.update(data["conversations"][conversation]);
        variables.update(data["options"][static_cast<std::size_t>(options)]);

        const auto text = templates.at(name).render(variables);
        if (reference.contains("error")) {
            wrong += text ? 1 : 0;
            EXPECT_FALSE(text) << label << options << "\n  gives: " << *text;
            continue;
        }
        if (reference.contains("text")) texts[label + std::to_string(options)] = put_dates(reference["text"]);
        const int same = reference.value("same_as_options", options);
        const std::string& expected = texts.at(label + std::to_string(same));
        wrong += !text || *text != expected ? 1 : 0;
        if (!text) {
            ADD_FAILURE() << label << options << "\n  fails: " << text.error().message;
        } else {
            EXPECT_EQ(*text, expected) << label << options;
        }
    }
    EXPECT_EQ(wrong, 0u) << "of " << data["cases"].size();
    EXPECT_GT(data["cases"].size(), 1500u);
}

} // namespace
} // namespace lucebox::text
