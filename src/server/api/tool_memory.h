// What the model wrote where it called tools, so that the next turn's prompt repeats it token for token.
//
// Clients send a call back as they parsed it. Rendered from that, it may differ from what the model wrote (white space,
// the order of arguments, a drifted tag), and the prefix that is kept in memory would end there. So a turn with calls is
// remembered under its first call's id, and put into the next prompt as it was, if the client's message still says the
// same. Calls that other servers made, or that are forgotten, are rendered by the model's template as ever.
// Thread-safe; the youngest stay, within bounds.
#pragma once

#include "server/api/json.h"
#include "text/tokenizer.h"

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace lucebox::server {

// A turn of the model's in its prompt's text: `opening`, which every turn of that kind has, then `tail`, then what it wrote.
struct TurnPlace {
    std::string opening; // "<|im_start|>assistant\n"
    std::string tail;    // "<think>\n"
};

struct RememberedTurn {
    TurnPlace place;
    std::vector<text::TokenId> tokens; // what it wrote, without the token that ended it
    std::string content;               // as clients got it
    Json calls;                        // [{id, name, arguments: an object}]
    bool reasoned = false;             // it holds reasoning

    // Whether an assistant's message of a request says the same. Clients may leave out the content of a turn with calls.
    bool is_said_by(const Json& message) const;
};

class ToolMemory {
public:
    using Turn = std::shared_ptr<const RememberedTurn>;

    ToolMemory(std::size_t most_entries, std::size_t most_bytes) : most_entries_(most_entries), most_bytes_(most_bytes) {}

    void put(RememberedTurn turn);
    // Of a message of a request; null: unknown, or it says something else now.
    Turn find(const Json& message);

    struct Size {
        std::size_t entries = 0, bytes = 0;
    };
    Size size() const;
    Size limits() const { return {most_entries_, most_bytes_}; }

private:
    struct Entry {
        Turn turn;
        std::size_t bytes = 0;
    };
    const std::size_t most_entries_, most_bytes_;
    mutable std::mutex mutex_;
    std::list<Entry> entries_; // youngest first
    std::unordered_map<std::string, std::list<Entry>::iterator> by_id_; // of its first call
    std::size_t bytes_ = 0;
};

} // namespace lucebox::server
