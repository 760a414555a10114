#include "text/jinja/heap.h"

#include <cstdint>

namespace lucebox::text::jinja {

void* Heap::allocate(std::size_t bytes, std::size_t alignment) {
    if (meter_ != nullptr) meter_->charge_bytes(bytes);
    const std::size_t padding = (alignment - reinterpret_cast<std::uintptr_t>(next_) % alignment) % alignment;
    if (bytes + padding <= left_) {
        char* place = next_ + padding;
        next_ = place + bytes;
        left_ -= bytes + padding;
        return place;
    }
    // A big piece gets a chunk of its own and leaves the current one in use; new[] aligns for every type stored here.
    const bool own_chunk = bytes > chunk_bytes / 4;
    chunks_.push_back(std::unique_ptr<char[]>(new char[own_chunk ? bytes : chunk_bytes]));
    char* place = chunks_.back().get();
    if (!own_chunk) {
        next_ = place + bytes;
        left_ = chunk_bytes - bytes;
    }
    return place;
}

std::string_view Heap::copy(std::string_view text) {
    if (text.empty()) return {};
    char* place = static_cast<char*>(allocate(text.size(), 1));
    std::memcpy(place, text.data(), text.size());
    return {place, text.size()};
}

std::string_view Heap::concatenate(std::string_view left, std::string_view right) {
    if (right.empty()) return left;
    if (left.empty()) return right;
    if (meter_ != nullptr) meter_->check_size(left.size() + right.size());
    if (left.data() + left.size() == tail_ && right.size() <= tail_room_) {
        if (meter_ != nullptr) meter_->charge_bytes(right.size());
        std::memcpy(tail_, right.data(), right.size());
        tail_ += right.size();
        tail_room_ -= right.size();
        return {left.data(), left.size() + right.size()};
    }
    const std::size_t size = left.size() + right.size();
    const std::size_t room = size < 256 ? size : size * 2; // short strings are seldom appended to
    char* place = static_cast<char*>(allocate(room, 1));
    std::memcpy(place, left.data(), left.size());
    std::memcpy(place + left.size(), right.data(), right.size());
    if (room > size) {
        tail_ = place + size;
        tail_room_ = room - size;
    }
    return {place, size};
}

} // namespace lucebox::text::jinja
