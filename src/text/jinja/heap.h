// Memory of one rendering, or of one parsed template: allocated piece by piece, freed all at once.
//
// Values point into it without counting references, so they are trivially copyable, may form cycles (a namespace that
// holds itself), and cost nothing to take down however deeply they are nested. Nothing stored here has a destructor.
#pragma once

#include "text/jinja/meter.h"

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace lucebox::text::jinja {

class Heap {
public:
    // With a meter every allocation is paid for; a parser's heap is bounded by the length of its source instead.
    explicit Heap(Meter* meter = nullptr) : meter_(meter) {}
    Heap(Heap&&) = default;
    Heap& operator=(Heap&&) = default;

    template <class T, class... Arguments>
    T* make(Arguments&&... arguments) {
        static_assert(std::is_trivially_destructible_v<T>);
        return new (allocate(sizeof(T), alignof(T))) T(std::forward<Arguments>(arguments)...);
    }

    // Uninitialised but for what T's default constructor does.
    template <class T>
    std::span<T> make_array(std::size_t count) {
        static_assert(std::is_trivially_destructible_v<T>);
        if (count == 0) return {};
        T* items = static_cast<T*>(allocate(count * sizeof(T), alignof(T)));
        for (std::size_t i = 0; i < count; ++i) new (items + i) T();
        return {items, count};
    }

    std::string_view copy(std::string_view text);

    // left + right. Grows `left` in place where it was the last string built this way, so that a template which appends
    // in a loop pays for what it appends.
    std::string_view concatenate(std::string_view left, std::string_view right);

private:
    void* allocate(std::size_t bytes, std::size_t alignment);

    static constexpr std::size_t chunk_bytes = 64 * 1024;

    Meter* meter_;
    std::vector<std::unique_ptr<char[]>> chunks_;
    char* next_ = nullptr;
    std::size_t left_ = 0;
    char* tail_ = nullptr; // end of the last concatenation, and the room behind it
    std::size_t tail_room_ = 0;
};

} // namespace lucebox::text::jinja
