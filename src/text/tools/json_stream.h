// JSON read byte by byte, without building anything. Private to text/tools.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::text {

// Follows one JSON value. Line breaks and tabs that stand raw in strings, which models write and JSON forbids, count as
// valid; JsonRepair writes them as escapes.
class JsonValueScanner {
public:
    enum class State {
        more,
        done,         // the value ends with this byte
        done_before,  // the value ended in front of this byte (numbers and words have no end of their own)
        failed,
    };
    State push(char c);
    bool in_string() const { return place_ == Place::string || place_ == Place::escape; }
    bool complete() const; // whether the value may end here: a number's digits

private:
    enum class Place { value, string, escape, unicode, number, word, after_value, key_or_end, key, colon, value_or_end };
    State value_begins(char c);
    State close(char c);
    State value_ended();

    Place place_ = Place::value;
    std::string stack_;       // '{' and '['
    std::string scalar_;      // the number or word so far
    bool is_key_ = false;
    int digits_ = 0;          // of \uXXXX still missing
};

// Appends `c` of a JSON text; inside strings raw control characters become escapes.
void append_repaired(std::string& out, char c, bool in_string);

} // namespace lucebox::text
