// Any text as a model's output: the events do not depend on how it was cut, and a finished call holds one JSON object.
#include "text/tools/output_parser.h"

#include <cstdlib>

namespace {

using namespace lucebox::text;

void use(bool condition) {
    if (!condition) std::abort();
}

// Everything that came out, in order; neighbours of one kind joined.
std::vector<OutputEvent> events_of(std::string_view text, std::size_t piece, const ToolSet& tools, bool channels, bool inside) {
    const ReasoningMarkers markers = channels ? ReasoningMarkers{"<|channel>thought", "<channel|>", true} : ReasoningMarkers{};
    OutputParser parser(markers, tools, inside);
    std::vector<OutputEvent> events, joined;
    for (std::size_t at = 0; at < text.size(); at += piece) parser.push(text.substr(at, piece), events);
    parser.finish(text.size() % 2 == 0, events);
    for (OutputEvent& event : events) {
        if (!joined.empty() && joined.back().kind == event.kind && joined.back().call == event.call && event.kind != OutputEvent::Kind::call_end)
            joined.back().text += event.text;
        else joined.push_back(std::move(event));
    }
    return joined;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const ToolSet tools(Json::parse(
        R"([{"name":"f","parameters":{"properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{"type":["string","null"]}}}},{"name":"g"}])"));
    static const ToolSet one(Json::parse(R"([{"name":"f","parameters":{"properties":{"a":{"type":"string"},"b":{}}}}])"));
    if (size == 0) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    const ToolSet& set = (data[0] & 1) != 0 ? one : tools;
    const bool channels = (data[0] & 2) != 0, inside = (data[0] & 4) != 0;
    const auto whole = events_of(text, text.size() + 1, set, channels, inside);
    const auto pieces = events_of(text, 1 + data[0] / 8 % 5, set, channels, inside);
    use(whole.size() == pieces.size());
    std::string arguments;
    for (std::size_t i = 0; i < whole.size(); ++i) {
        use(whole[i].kind == pieces[i].kind && whole[i].text == pieces[i].text && whole[i].call == pieces[i].call);
        if (whole[i].kind == OutputEvent::Kind::call_begin) arguments.clear();
        if (whole[i].kind == OutputEvent::Kind::call_arguments) arguments += whole[i].text;
        if (whole[i].kind != OutputEvent::Kind::call_end) continue;
        for (char& c : arguments)
            if (static_cast<unsigned char>(c) >= 0x80) c = '?'; // the text need not be UTF-8 here
        use(!arguments.empty() && arguments.front() == '{' && Json::accept(arguments));
    }
    return 0;
}
