#include "server/api/tool_memory.h"

#include "base/ascii.h"

#include <algorithm>

namespace lucebox::server {
namespace {

// Whatever the order of an object's keys: clients write them in their own.
bool same(const Json& a, const Json& b) {
    if (a.is_array() && b.is_array()) return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
    if (!a.is_object() || !b.is_object()) return a == b;
    if (a.size() != b.size()) return false;
    for (const auto& [key, value] : a.items()) {
        const auto at = b.find(key);
        if (at == b.end() || !same(value, *at)) return false;
    }
    return true;
}

std::size_t bytes_of(const RememberedTurn& turn) {
    return 512 + turn.place.opening.size() + turn.place.tail.size() + turn.tokens.size() * sizeof(text::TokenId) + turn.content.size() +
           2 * to_text(turn.calls).size(); // parsed JSON takes more than its text
}

} // namespace

bool RememberedTurn::is_said_by(const Json& message) const {
    const auto given = message.find("tool_calls");
    if (given == message.end() || given->size() != calls.size()) return false;
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const Json& call = (*given)[i];
        if (call.value("id", "") != calls[i]["id"] || call["function"]["name"] != calls[i]["name"] ||
            !same(call["function"]["arguments"], calls[i]["arguments"]))
            return false;
    }
    const std::string said = message.value("content", "");
    return trimmed(said).empty() || trimmed(said) == trimmed(content);
}

void ToolMemory::put(RememberedTurn turn) {
    const std::size_t bytes = bytes_of(turn);
    if (bytes > most_bytes_ || turn.calls.empty()) return;
    const std::string id = turn.calls.front()["id"];
    auto shared = std::make_shared<const RememberedTurn>(std::move(turn));
    const std::lock_guard lock(mutex_);
    entries_.push_front({std::move(shared), bytes});
    by_id_[id] = entries_.begin();
    bytes_ += bytes;
    while (entries_.size() > most_entries_ || bytes_ > most_bytes_) {
        bytes_ -= entries_.back().bytes;
        by_id_.erase(entries_.back().turn->calls.front()["id"].get<std::string>());
        entries_.pop_back();
    }
}

ToolMemory::Turn ToolMemory::find(const Json& message) {
    const auto calls = message.find("tool_calls");
    if (calls == message.end() || !calls->is_array() || calls->empty() || !calls->front().contains("id") || !calls->front()["id"].is_string())
        return nullptr;
    Turn turn;
    {
        const std::lock_guard lock(mutex_);
        const auto at = by_id_.find(calls->front()["id"].get_ref<const std::string&>());
        if (at == by_id_.end()) return nullptr;
        entries_.splice(entries_.begin(), entries_, at->second);
        turn = at->second->turn;
    }
    return turn->is_said_by(message) ? turn : nullptr;
}

ToolMemory::Size ToolMemory::size() const {
    const std::lock_guard lock(mutex_);
    return {entries_.size(), bytes_};
}

} // namespace lucebox::server
