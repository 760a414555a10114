// Lengths, iteration, attributes, subscripts, slices.
#include "text/jinja/operators.h"

#include "text/jinja/loop.h"
#include "text/jinja/unicode.h"

#include <algorithm>

namespace lucebox::text::jinja {
namespace {

class ItemIterator final : public Iterator {
public:
    explicit ItemIterator(std::span<const Value> items) : items_(items) {}
    bool next(Runtime&, Value& item) override {
        if (at_ >= items_.size()) return false;
        item = items_[at_++];
        return true;
    }

private:
    std::span<const Value> items_;
    std::size_t at_ = 0;
};

class ReversedItems final : public Iterator {
public:
    explicit ReversedItems(std::span<const Value> items) : items_(items), left_(items.size()) {}
    bool next(Runtime&, Value& item) override {
        if (left_ == 0) return false;
        item = items_[--left_];
        return true;
    }

private:
    std::span<const Value> items_;
    std::size_t left_;
};

class CharacterIterator final : public Iterator {
public:
    explicit CharacterIterator(const Value& text) : text_(text) {}
    bool next(Runtime&, Value& item) override {
        const std::string_view text = text_.text();
        if (at_ >= text.size()) return false;
        const std::size_t size = character_size(text, at_);
        item = Value::string(text.substr(at_, size), text_.is_ascii());
        at_ += size;
        return true;
    }

private:
    Value text_;
    std::size_t at_ = 0;
};

class EntryIterator final : public Iterator {
public:
    EntryIterator(std::span<const Entry> entries, Kind kind, bool reversed)
        : entries_(entries), kind_(kind), reversed_(reversed) {}
    bool next(Runtime& runtime, Value& item) override {
        if (at_ >= entries_.size()) return false;
        const Entry& entry = entries_[reversed_ ? entries_.size() - 1 - at_ : at_];
        ++at_;
        if (kind_ == Kind::dict_items) {
            const Value pair[] = {entry.key, entry.value};
            item = runtime.tuple(pair);
        } else {
            item = kind_ == Kind::dict_values ? entry.value : entry.key;
        }
        return true;
    }

private:
    std::span<const Entry> entries_;
    Kind kind_;
    bool reversed_;
    std::size_t at_ = 0;
};

class RangeIterator final : public Iterator {
public:
    RangeIterator(const Range& range, bool reversed) : range_(range), reversed_(reversed) {}
    bool next(Runtime&, Value& item) override {
        if (at_ >= range_.count) return false;
        item = Value::integer(range_.at(reversed_ ? range_.count - 1 - at_ : at_));
        ++at_;
        return true;
    }

private:
    Range range_;
    bool reversed_;
    std::int64_t at_ = 0;
};

std::string describe_key(const Value& key) {
    if (key.is_string()) return "'" + std::string(key.text().substr(0, 60)) + "'";
    return key.is_whole() ? std::to_string(key.as_integer()) : "of type " + std::string(type_name(key));
}

// What an undefined attribute or element is called when it is used.
Value undefined_part(Runtime& runtime, const Value& object, const Value& key) {
    const std::string what = "element " + describe_key(key) + " of " + std::string(type_name(object));
    return Value::undefined(runtime.heap().copy(what));
}

// A Python index: counts from the end if negative. Size or more: out of range.
std::size_t position(std::int64_t index, std::size_t size) {
    if (index < 0) index += static_cast<std::int64_t>(size);
    return index < 0 ? size : std::min(static_cast<std::size_t>(index), size);
}

// object[key] in the strict sense; `missing` where Python raises.
Value subscript(Runtime& runtime, const Value& object, const Value& key) {
    if (object.is(Kind::dict)) {
        if (!is_hashable(key)) return Value::missing();
        const Value* found = find_key(runtime, object.entries(), key);
        return found != nullptr ? *found : Value::missing();
    }
    if (!key.is_whole()) return Value::missing();
    if (object.is_list_or_tuple()) {
        const std::size_t at = position(key.as_integer(), object.items().size());
        return at < object.items().size() ? object.items()[at] : Value::missing();
    }
    if (object.is_string()) {
        const std::string_view text = object.text();
        if (!object.is_ascii()) runtime.meter().charge_bytes(text.size());
        const std::size_t size = *length(object);
        const std::size_t at = position(key.as_integer(), size);
        if (at >= size) return Value::missing();
        if (object.is_ascii()) return part_of(object, text.substr(at, 1));
        const std::size_t begin = byte_offset(text, at);
        return part_of(object, text.substr(begin, character_size(text, begin)));
    }
    if (object.is(Kind::range)) {
        const Range& range = object.as_range();
        const auto count = static_cast<std::size_t>(range.count);
        const std::size_t at = position(key.as_integer(), count);
        return at < count ? Value::integer(range.at(static_cast<std::int64_t>(at))) : Value::missing();
    }
    return Value::missing();
}

// The bounds of a slice of `size` items, as Python clips them.
struct Bounds {
    std::int64_t start, step;
    std::size_t count;
};

Bounds clip(std::size_t size, const Value& from, const Value& to, const Value& step_value) {
    const auto n = static_cast<std::int64_t>(size);
    const std::int64_t step = step_value.is(Kind::none) ? 1 : to_integer(step_value);
    if (step == 0) fail("a slice's step is zero");
    const auto bound = [&](const Value& value, std::int64_t absent) {
        if (value.is(Kind::none)) return absent;
        std::int64_t index = to_integer(value);
        if (index < 0) index += n;
        return step > 0 ? std::clamp<std::int64_t>(index, 0, n) : std::clamp<std::int64_t>(index, -1, n - 1);
    };
    const std::int64_t start = bound(from, step > 0 ? 0 : n - 1);
    const std::int64_t stop = bound(to, step > 0 ? n : -1);
    const std::int64_t distance = step > 0 ? stop - start : start - stop;
    if (distance <= 0) return {start, step, 0};
    const std::uint64_t stride = step > 0 ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
    return {start, step, static_cast<std::size_t>((static_cast<std::uint64_t>(distance) - 1) / stride + 1)};
}

Value slice_string(Runtime& runtime, const Value& object, const Bounds& bounds) {
    const std::string_view text = object.text();
    const auto start = static_cast<std::size_t>(bounds.start);
    if (bounds.count == 0) return part_of(object, {});
    if (bounds.step == 1) {
        if (object.is_ascii()) return part_of(object, text.substr(start, bounds.count));
        runtime.meter().charge_bytes(text.size());
        const std::string_view rest = text.substr(byte_offset(text, start));
        return part_of(object, rest.substr(0, byte_offset(rest, bounds.count)));
    }
    runtime.meter().charge_characters(text.size()); // the offsets
    std::vector<std::uint32_t> offsets;
    for (std::size_t i = 0; i < text.size(); i += character_size(text, i)) {
        offsets.push_back(static_cast<std::uint32_t>(i));
    }
    std::string out;
    std::int64_t at = bounds.start;
    for (std::size_t i = 0; i < bounds.count; ++i, at += bounds.step) {
        const std::size_t begin = offsets[static_cast<std::size_t>(at)];
        out += text.substr(begin, character_size(text, begin));
    }
    return Value::string(runtime.heap().copy(out), object.is_ascii(), object.is_markup());
}

} // namespace

std::optional<std::size_t> length(const Value& value) {
    switch (value.kind()) {
    case Kind::undefined: return 0;
    case Kind::string: return value.is_ascii() ? value.text().size() : count_characters(value.text());
    case Kind::list:
    case Kind::tuple: return value.items().size();
    case Kind::dict:
    case Kind::dict_keys:
    case Kind::dict_values:
    case Kind::dict_items: return value.entries().size();
    case Kind::range: return static_cast<std::size_t>(value.as_range().count);
    default: return std::nullopt;
    }
}

Iterator* iterate(Runtime& runtime, const Value& value) {
    Heap& heap = runtime.heap();
    switch (value.kind()) {
    case Kind::undefined: return heap.make<ItemIterator>(std::span<const Value>{});
    case Kind::string: return heap.make<CharacterIterator>(value);
    case Kind::list:
    case Kind::tuple: return heap.make<ItemIterator>(value.items());
    case Kind::dict:
    case Kind::dict_keys:
    case Kind::dict_values:
    case Kind::dict_items: return heap.make<EntryIterator>(value.entries(), value.kind(), false);
    case Kind::range: return heap.make<RangeIterator>(value.as_range(), false);
    case Kind::iterator: return &value.as_iterator();
    default: return nullptr;
    }
}

Iterator& iterate_or_fail(Runtime& runtime, const Value& value) {
    Iterator* it = iterate(runtime, value);
    if (it == nullptr) fail(std::string(type_name(value)) + " can't be iterated over");
    return *it;
}

Iterator* iterate_reversed(Runtime& runtime, const Value& value) {
    Heap& heap = runtime.heap();
    switch (value.kind()) {
    case Kind::undefined: return heap.make<ReversedItems>(std::span<const Value>{});
    case Kind::string: return heap.make<ReversedItems>(to_list(runtime, value).items());
    case Kind::list:
    case Kind::tuple: return heap.make<ReversedItems>(value.items());
    case Kind::dict:
    case Kind::dict_keys:
    case Kind::dict_values:
    case Kind::dict_items: return heap.make<EntryIterator>(value.entries(), value.kind(), true);
    case Kind::range: return heap.make<RangeIterator>(value.as_range(), true);
    default: return nullptr;
    }
}

Value to_list(Runtime& runtime, const Value& value) {
    if (value.is_list_or_tuple()) return Value::list(value.items());
    Iterator& it = iterate_or_fail(runtime, value);
    ListBuilder list(runtime);
    Value item;
    while (runtime.next(it, item)) list.push(item);
    return list.list();
}

Value own_attribute(Runtime& runtime, const Value& object, const Value& name) {
    const std::string_view text = name.text();
    switch (object.kind()) {
    case Kind::undefined: fail_undefined(object);
    case Kind::name_space: {
        const Namespace& ns = object.as_namespace();
        const Value* found = find_key(runtime, {ns.entries, ns.size}, name);
        return found != nullptr ? *found : Value::undefined();
    }
    case Kind::loop: {
        const Value property = object.as_loop().property(runtime, text);
        if (!property.is_missing()) return property;
        break;
    }
    case Kind::tuple:
        if (object.is_markup() && text == "grouper") return object.items()[0];
        if (object.is_markup() && text == "list") return object.items()[1];
        break;
    case Kind::macro: return macro_property(runtime, object.as_macro(), text);
    default: break;
    }
    const Builtin* method = object.is_string() ? find_string_method(text) : find_method(object.kind(), text);
    if (method == nullptr) return Value::undefined();
    // A method without a function is one that changes its receiver: known, so that it hides a key of that name, but
    // forbidden.
    if (method->function == nullptr) return Value::undefined("a forbidden method");
    return Value::object(Kind::method, runtime.heap().make<Method>(Method{object, method}));
}

Value attribute(Runtime& runtime, const Value& object, const Value& name) {
    if (object.is(Kind::dict)) { // by far the most frequent case: message.content
        const Builtin* method = find_method(Kind::dict, name.text());
        if (method == nullptr) {
            const Value* found = find_key(runtime, object.entries(), name);
            return found != nullptr ? *found : undefined_part(runtime, object, name);
        }
    }
    const Value own = own_attribute(runtime, object, name);
    return own.is_undefined() && own.text().empty() ? undefined_part(runtime, object, name) : own;
}

Value item(Runtime& runtime, const Value& object, const Value& key) {
    if (object.is_undefined()) fail_undefined(object);
    const Value found = subscript(runtime, object, key);
    if (!found.is_missing()) return found;
    if (key.is_string()) {
        const Value own = own_attribute(runtime, object, key);
        if (!own.is_undefined()) return own;
    }
    return undefined_part(runtime, object, key);
}

Value slice(Runtime& runtime, const Value& object, const Value& from, const Value& to, const Value& step) {
    if (!object.is_string() && !object.is_list_or_tuple() && !object.is(Kind::range)) {
        fail_type("something that can be sliced", object);
    }
    if (object.is_string() && !object.is_ascii()) runtime.meter().charge_bytes(object.text().size());
    const Bounds bounds = clip(*length(object), from, to, step);
    if (object.is_string()) return slice_string(runtime, object, bounds);
    if (object.is(Kind::range)) {
        const Range& range = object.as_range();
        Range* part = runtime.heap().make<Range>();
        part->count = static_cast<std::int64_t>(bounds.count);
        part->start = bounds.count > 0 ? range.at(bounds.start) : range.start;
        part->step = bounds.count > 1 ? range.step * bounds.step : range.step;
        part->stop = part->at(part->count);
        return Value::object(Kind::range, part);
    }
    if (bounds.step == 1) {
        const auto part = object.items().subspan(bounds.count == 0 ? 0 : static_cast<std::size_t>(bounds.start),
                                                 bounds.count);
        return object.is(Kind::list) ? Value::list(part) : Value::tuple(part);
    }
    const auto items = runtime.heap().make_array<Value>(bounds.count);
    for (std::size_t i = 0; i < bounds.count; ++i) {
        items[i] = object.items()[static_cast<std::size_t>(bounds.start + static_cast<std::int64_t>(i) * bounds.step)];
    }
    return object.is(Kind::list) ? Value::list(items) : Value::tuple(items);
}

} // namespace lucebox::text::jinja
