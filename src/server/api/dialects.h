// Requests of other dialects, brought into the shape of a chat request, so that one path serves them all.
//
// What a dialect can say and a chat request can't is turned into the nearest thing that can be said; what nobody here can
// do (server tools, say) is left out, as those clients expect.
#pragma once

#include "server/api/json.h"

#include <list>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace lucebox::server {

// Anthropic's /v1/messages. `counts`: only the prompt matters (count_tokens).
Answer<Json> chat_body_of_messages(const Json& body, bool counts);

// Fields of a body that nobody reads, and kinds of tools ("tools.web_search") that are left out.
std::vector<std::string> ignored_in_messages(const Json& body);
std::vector<std::string> ignored_in_responses(const Json& body);

struct ResponsesInput {
    Json body;                       // of a chat request
    Json conversation;               // its messages without what `instructions` add: they are not inherited
    std::set<std::string> free_tools; // those that take plain text instead of JSON ("custom")
    bool stores = true;
};
// OpenAI's /v1/responses. `before`: the conversation that previous_response_id stands for.
Answer<ResponsesInput> chat_body_of_responses(const Json& body, const Json& before);

// Conversations by the id of their last answer, for previous_response_id: the youngest, within bounds.
class ResponseStore {
public:
    ResponseStore(std::size_t most_entries, std::size_t most_bytes) : most_entries_(most_entries), most_bytes_(most_bytes) {}

    void put(const std::string& id, Json conversation);
    std::optional<Json> get(const std::string& id);

private:
    struct Entry {
        std::string id;
        Json conversation;
        std::size_t bytes = 0;
    };
    const std::size_t most_entries_, most_bytes_;
    std::mutex mutex_;
    std::list<Entry> entries_; // youngest first
    std::unordered_map<std::string, std::list<Entry>::iterator> by_id_;
    std::size_t bytes_ = 0;
};

} // namespace lucebox::server
