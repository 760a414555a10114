#include "text/tools/output_parser.h"

#include "text/tools/call_scanner.h"

#include <algorithm>
#include <utility>

namespace lucebox::text {
namespace {

// Text that turns out to be no call is read again from behind its first tag if it is no longer than this: more would make
// hostile text cost more than linear time, less would miss a call right behind a tag that was none.
constexpr std::size_t most_reread_bytes = 512;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; } // of a UTF-8 character

// Where Gemma's bare "call:" may begin: not inside a sentence.
bool may_precede_bare_call(char c) { return std::string_view("\n}>_.:;)!?").find(c) != std::string_view::npos; }

} // namespace

OutputParser::OutputParser(ReasoningMarkers markers, const ToolSet& tools, bool starts_inside)
    : markers_(std::move(markers)), tools_(tools),
      mode_(starts_inside ? Mode::reasoning : markers_.open.empty() ? Mode::content : Mode::start), trims_(starts_inside) {}
OutputParser::OutputParser(OutputParser&&) noexcept = default;
OutputParser::~OutputParser() = default;

void OutputParser::push(std::string_view text, Events& events) {
    buffer_ += text;
    while (step(false, events)) {}
    const std::size_t done = mode_ == Mode::call ? call_begin_ : at_;
    if (done < buffer_.size() && done < 4096) return; // moving the rest each time would cost more than it frees
    buffer_.erase(0, done);
    at_ -= done;
    call_begin_ = 0;
}

void OutputParser::finish(bool stopped, Events& events) {
    stopped_ = stopped;
    while (step(true, events)) {}
    if ((mode_ == Mode::content || mode_ == Mode::start) && calls_ == 0 && !space_.empty()) {
        events.push_back({OutputEvent::Kind::content, space_, 0});
    }
    space_.clear();
}

bool OutputParser::step(bool last, Events& events) {
    if (rest().empty() && !(last && mode_ == Mode::call)) return false;
    switch (mode_) {
    case Mode::start: return step_start(last, events);
    case Mode::reasoning: return step_reasoning(last, events);
    case Mode::content: return step_content(last, events);
    case Mode::call: return step_call(last, events);
    case Mode::after_call: return step_after_call(last);
    }
    return false;
}

// In front of content: reasoning may begin here.
bool OutputParser::step_start(bool last, Events&) {
    const std::size_t begin = skip_space(rest(), 0);
    space_ += without_leading_space(rest().substr(0, begin), true);
    at_ += begin;
    const std::string_view text = rest();
    if (text.empty()) return false;
    const Found open = found_at_start(text, markers_.open), close = found_at_start(text, markers_.close);
    if (open == Found::whole || close == Found::whole) { // a lone closing tag: the prompt has closed it already
        at_ += (open == Found::whole ? markers_.open.size() : markers_.close.size());
        if (open == Found::whole) mode_ = Mode::reasoning;
        reasoning_begun_ = open == Found::whole;
        space_.clear();
        trims_ = true;
        return true;
    }
    if (!last && (open == Found::part || close == Found::part)) return false;
    mode_ = Mode::content;
    return true;
}

bool OutputParser::step_reasoning(bool last, Events& events) {
    if (!reasoning_begun_) { // a model may repeat the tag that the prompt holds
        const std::size_t begin = skip_space(rest(), 0);
        const Found open = found_at_start(rest().substr(begin), markers_.open);
        if (open == Found::part && !last) return false;
        reasoning_begun_ = true;
        if (open == Found::whole) at_ += begin + markers_.open.size();
    }
    const std::string_view text = rest();
    for (std::size_t i = 0; i < text.size(); ++i) {
        i = std::min(text.find(markers_.close.front(), i), text.size());
        const Found found = i < text.size() ? found_at_start(text.substr(i), markers_.close) : Found::no;
        if (found == Found::no || (found == Found::part && last)) continue;
        emit(OutputEvent::Kind::reasoning, text.substr(0, i), events);
        at_ += i;
        if (found == Found::part) return false;
        at_ += markers_.close.size();
        space_.clear();
        mode_ = Mode::start;
        trims_ = true;
        return true;
    }
    emit(OutputEvent::Kind::reasoning, text, events);
    at_ += text.size();
    return false;
}

bool OutputParser::step_content(bool last, Events& events) {
    const std::string_view text = rest();
    bool begun = content_begun_ || calls_ > 0; // also by what stands in front of `i` and is not emitted yet
    for (std::size_t i = 0; i < text.size(); ++i) {
        begun |= i > 0 && !is_space(text[i - 1]);
        const char previous = i > 0 ? text[i - 1] : !space_.empty() ? space_.back() : content_begun_ ? previous_ : '\n';
        Found found = Found::no;
        bool reasons = false;
        if (markers_.anywhere) {
            const Found open = found_at_start(text.substr(i), markers_.open), close = found_at_start(text.substr(i), markers_.close);
            reasons = open == Found::whole || close == Found::whole;
            found = std::max({found, open, close});
            if (reasons) {
                emit(OutputEvent::Kind::content, text.substr(0, i), events);
                at_ += i + (open == Found::whole ? markers_.open.size() : markers_.close.size());
                if (open == Found::whole) mode_ = Mode::reasoning;
                space_.clear();
                trims_ = true;
                return true;
            }
        }
        if (!tools_.empty()) found = std::max(found, open_call(text.substr(i), previous, begun, last));
        if (found == Found::no || (found == Found::part && last)) continue;
        emit(OutputEvent::Kind::content, text.substr(0, i), events);
        at_ += i;
        if (found == Found::part) return false;
        call_begin_ = at_;
        at_ += marker_bytes_;
        announced_ = false;
        mode_ = Mode::call;
        return true;
    }
    emit(OutputEvent::Kind::content, text, events);
    at_ += text.size();
    return false;
}

Found OutputParser::begin_call(std::unique_ptr<CallScanner> scanner, std::size_t marker_bytes) {
    scanner_ = std::move(scanner);
    marker_bytes_ = marker_bytes;
    return Found::whole;
}

// Whether a call begins at `text`; if so, scanner_ reads what is behind its marker.
Found OutputParser::open_call(std::string_view text, char previous, bool begun, bool last) {
    const char c = text.front();
    if (c == '{' || c == '`') return begun ? Found::no : open_json_call(text);
    if (c == '<' && previous != '`') { // in quotes it is talked about, not made
        Found best = Found::no;
        for (const std::string_view marker :
             {"<tool_call>", "<|tool_call>", "<function=", "<tool_code>", "<function_call>", "<invoke name=\""}) {
            const Found found = found_at_start(text, marker);
            best = std::max(best, found);
            if (found != Found::whole) continue;
            if (marker == "<function=") return begin_call(make_function_call(tools_), marker.size());
            if (marker.starts_with("<invoke")) return begin_call(make_invoke_call(tools_), marker.size());
            if (marker == "<tool_code>" || marker == "<function_call>")
                return begin_call(make_json_call(tools_, false), marker.size());
            return begin_call(make_wrapped_call(tools_), marker.size());
        }
        constexpr std::string_view calls = "<function_calls>", invoke = "<invoke name=\"";
        const Found found = found_at_start(text, calls);
        best = std::max(best, found == Found::whole ? Found::no : found);
        if (found == Found::whole) {
            const std::size_t begin = skip_space(text, calls.size());
            const Found inner = found_at_start(text.substr(begin), invoke);
            if (inner == Found::whole) return begin_call(make_invoke_call(tools_), begin + invoke.size());
            best = std::max(best, inner);
        }
        return std::max(best, open_named_call(text, false));
    }
    const bool line_start = previous == '\n';
    if (c == 'c' && may_precede_bare_call(previous)) {
        const Found found = found_at_start(text, "call:");
        if (found == Found::whole) return begin_call(make_gemma_call(tools_), 5);
        if (found == Found::part && !last) return found;
    }
    return line_start && !is_space(c) ? open_named_call(text, true) : Found::no;
}

// <NAME><parameter=... anywhere, and NAME<arg_key>... at the start of a line.
Found OutputParser::open_named_call(std::string_view text, bool line_start) {
    Found best = Found::no;
    for (const Tool& tool : tools_.tools()) {
        const std::string head = line_start ? tool.name() : "<" + tool.name() + ">";
        const std::string_view key_open = line_start ? "<arg_key>" : "<parameter=";
        const Found found = found_at_start(text, head);
        best = std::max(best, found == Found::part ? found : Found::no);
        if (found != Found::whole) continue;
        const std::size_t begin = skip_space(text, head.size());
        const Found next = begin - head.size() > 8 ? Found::no : found_at_start(text.substr(begin), key_open);
        if (next == Found::part) best = Found::part;
        if (next != Found::whole) continue;
        if (line_start) return begin_call(make_laguna_call(tools_), 0);
        TagStyle style = qwen_style();
        style.other_close = "</" + tool.name() + ">";
        named_ = &tool;
        return begin_call(make_tagged_call(tool, std::move(style)), head.size());
    }
    return best;
}

// A reply that is JSON from its first character, perhaps in a code fence.
Found OutputParser::open_json_call(std::string_view text) {
    if (text.front() != '`') return begin_call(make_json_call(tools_, true), 0);
    for (const std::string_view fence : {"```json", "```tool_call", "```"}) {
        const Found found = found_at_start(text, fence);
        if (found == Found::part) return found;
        if (found == Found::no) continue;
        const std::size_t begin = skip_space(text, fence.size());
        if (begin == text.size()) return begin - fence.size() > 8 ? Found::no : Found::part;
        if (text[begin] != '{') return Found::no;
        in_fence_ = true;
        return begin_call(make_json_call(tools_, true), begin);
    }
    return Found::no;
}

bool OutputParser::step_call(bool last, Events& events) {
    CallOutput out;
    std::size_t consumed = 0;
    if (named_ != nullptr) out.name = named_->name();
    named_ = nullptr;
    const CallScanner::State state = scanner_->scan(rest(), last, stopped_, consumed, out);
    at_ += consumed;
    if (!out.name.empty()) {
        events.push_back({OutputEvent::Kind::call_begin, std::move(out.name), calls_});
        announced_ = true;
        space_.clear();
    }
    if (!out.arguments.empty()) events.push_back({OutputEvent::Kind::call_arguments, std::move(out.arguments), calls_});
    if (state == CallScanner::State::more) {
        if (!last) return false;
        give_up_call(events);
        return true;
    }
    if (state == CallScanner::State::failed) {
        give_up_call(events);
        return true;
    }
    events.push_back({OutputEvent::Kind::call_end, "", calls_++});
    mode_ = Mode::after_call;
    return true;
}

void OutputParser::give_up_call(Events& events) {
    scanner_.reset();
    mode_ = Mode::content;
    const std::string_view text = std::string_view(buffer_).substr(call_begin_, at_ - call_begin_);
    if (announced_) {
        events.push_back({OutputEvent::Kind::call_broken, std::string(text), calls_++});
        content_begun_ = true;
        previous_ = ' ';
        return;
    }
    // Behind what only looked like the beginning of a call, a real one may follow.
    std::size_t shown = text.size() > most_reread_bytes ? text.size() : std::max<std::size_t>(marker_bytes_, 1);
    while (call_begin_ + shown < buffer_.size() && is_continuation(buffer_[call_begin_ + shown])) ++shown;
    at_ = call_begin_ + std::min(shown, buffer_.size() - call_begin_);
    emit(OutputEvent::Kind::content, std::string_view(buffer_).substr(call_begin_, at_ - call_begin_), events);
}

// Closing tags, in whatever form, and white space: none of it is content.
bool OutputParser::step_after_call(bool last) {
    at_ += skip_space(rest(), 0);
    if (rest().empty()) return false;
    for (const std::string_view marker : {"</tool_call>", "<tool_call|>", "</function_calls>", "</function_call>", "</function>",
                                          "</tool_code>", "<|tool_response>", "```"}) {
        if (marker == "```" && !in_fence_) continue;
        const Found found = found_at_start(rest(), marker);
        if (found == Found::part && !last) return false;
        if (found != Found::whole) continue;
        at_ += marker.size();
        return true;
    }
    mode_ = Mode::content;
    trims_ = true;
    previous_ = '\n';
    return true;
}

// Reasoning loses all white space in front of it, content only line breaks: the rest may be indentation.
std::string_view OutputParser::without_leading_space(std::string_view text, bool is_content) {
    if (!trims_) return text;
    const std::size_t begin = std::min(text.find_first_not_of(is_content ? "\r\n" : " \t\r\n"), text.size());
    trims_ = begin == text.size();
    return text.substr(begin);
}

void OutputParser::emit(OutputEvent::Kind kind, std::string_view text, Events& events) {
    const bool is_content = kind == OutputEvent::Kind::content;
    text = without_leading_space(text, is_content);
    if (text.empty()) return;
    if (is_content && tools_.empty() && !markers_.anywhere) {
        content_begun_ = true;
        events.push_back({kind, std::exchange(space_, {}) + std::string(text), 0});
        return;
    }
    const std::size_t end = text.find_last_not_of(" \t\r\n") + 1;
    if (end == 0) {
        space_ += text;
        return;
    }
    std::string shown = std::move(space_);
    shown += text.substr(0, end);
    space_ = text.substr(end);
    content_begun_ |= is_content;
    previous_ = shown.back();
    events.push_back({kind, std::move(shown), 0});
}

} // namespace lucebox::text
