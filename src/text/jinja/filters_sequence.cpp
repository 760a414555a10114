// Filters that order, group, and reduce sequences.
#include "text/jinja/filters.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

#include <algorithm>

namespace lucebox::text::jinja {

AttributePath::AttributePath(Runtime& runtime, const Value& path) {
    if (path.is_missing() || path.is(Kind::none)) return;
    if (!path.is_string()) {
        parts_ = runtime.copy(std::span(&path, 1));
        return;
    }
    std::vector<Value> parts;
    for (const std::string_view part : split(runtime, path.text(), Value::string("."), -1)) {
        const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
        const auto index = number ? parse_integer(part, 10) : std::nullopt;
        parts.push_back(index ? Value::integer(*index) : Value::string(part));
    }
    parts_ = runtime.copy(parts);
}

Value AttributePath::get(Runtime& runtime, Value value, const Value& otherwise) const {
    for (const Value& part : parts_) {
        value = item(runtime, value, part);
        if (value.is_undefined() && !otherwise.is_missing()) value = otherwise;
    }
    return value;
}

Value fold_case(Runtime& runtime, const Value& value) {
    if (!value.is_string()) return value;
    runtime.meter().charge_characters(value.text().size());
    return runtime.text(to_lower(value.text()));
}

namespace filters {
namespace {

struct Keyed {
    Value key, item;
};

// By key, equal ones in their order, also when reversed.
void sort_by_key(Runtime& runtime, std::vector<Keyed>& items, bool reversed) {
    runtime.meter().charge(items.size());
    std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
        return reversed ? compare(runtime, Operator::lt, b.key, a.key) : compare(runtime, Operator::lt, a.key, b.key);
    });
}

Value items_of(Runtime& runtime, const std::vector<Keyed>& keyed) {
    ListBuilder list(runtime);
    for (const Keyed& entry : keyed)
        list.push(entry.item);
    return list.list();
}

template <Operator Better>
Value best(Runtime& runtime, const Call& call) {
    const bool case_sensitive = flag(call[0]);
    const AttributePath path(runtime, call[1]);
    Iterator& it = iterate_or_fail(runtime, call.receiver);
    Value winner = Value::undefined("the best item of none");
    Value winning_key;
    Value item;
    for (bool first = true; runtime.next(it, item); first = false) {
        Value key = path.get(runtime, item);
        if (!case_sensitive) key = fold_case(runtime, key);
        if (first || compare(runtime, Better, key, winning_key)) {
            winner = item;
            winning_key = key;
        }
    }
    return winner;
}

// A generator in name: computes all its items, and fails if it has to, when somebody asks for the first.
class Deferred final : public Iterator {
public:
    using Compute = Value (*)(Runtime&, const Call&); // gives a list
    Deferred(const Call& call, Compute compute) : call_(call), compute_(compute) {}
    bool next(Runtime& runtime, Value& item) override {
        if (items_ == nullptr) items_ = iterate(runtime, compute_(runtime, call_));
        return runtime.next(*items_, item);
    }

private:
    Call call_;
    Compute compute_;
    Iterator* items_ = nullptr;
};

Value list_items(Runtime& runtime, const Call& call) {
    if (!call.receiver.is(Kind::dict) && !call.receiver.is_undefined()) fail_type("a dict", call.receiver);
    if (call.receiver.is_undefined()) return Value::list({});
    return to_list(runtime, Value::dict(call.receiver.entries(), Kind::dict_items));
}

Value list_unique(Runtime& runtime, const Call& call) {
    const bool case_sensitive = flag(call[0]);
    const AttributePath path(runtime, call[1]);
    Iterator& it = iterate_or_fail(runtime, call.receiver);
    ListBuilder list(runtime);
    std::vector<Value> seen;
    Value item;
    while (runtime.next(it, item)) {
        Value key = path.get(runtime, item);
        if (!case_sensitive) key = fold_case(runtime, key);
        if (!is_hashable(key)) fail(std::string(type_name(key)) + " can't be told apart by 'unique'");
        const bool known =
            std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(runtime, other, key); });
        if (known) continue;
        seen.push_back(key);
        list.push(item);
    }
    return list.list();
}

Value list_batches(Runtime& runtime, const Call& call) {
    const std::int64_t size = to_integer(call[0]);
    const bool fill = call.has(1) && !call[1].is(Kind::none);
    ListBuilder batches(runtime);
    ListBuilder current(runtime);
    Iterator& it = iterate_or_fail(runtime, call.receiver);
    Value item;
    while (runtime.next(it, item)) {
        if (static_cast<std::int64_t>(current.items().size()) == size) {
            batches.push(current.list());
            current.items().clear();
        }
        current.push(item);
    }
    if (!current.items().empty()) {
        while (fill && static_cast<std::int64_t>(current.items().size()) < size)
            current.push(call[1]);
        batches.push(current.list());
    }
    return batches.list();
}

Value list_slices(Runtime& runtime, const Call& call) {
    const auto all = to_list(runtime, call.receiver).items();
    const std::int64_t count = to_integer(call[0]);
    if (count == 0) fail("division by zero");
    const auto size = static_cast<std::int64_t>(all.size());
    const bool fill = call.has(1) && !call[1].is(Kind::none);
    ListBuilder slices(runtime);
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t part = size / count + (i < size % count ? 1 : 0);
        ListBuilder current(runtime);
        for (std::int64_t k = 0; k < part; ++k)
            current.push(all[static_cast<std::size_t>(at++)]);
        if (fill && i >= size % count) current.push(call[1]);
        slices.push(current.list());
    }
    return slices.list();
}

} // namespace

Value items(Runtime& runtime, const Call& call) {
    return runtime.iterator<Deferred>(call, list_items);
}
Value unique(Runtime& runtime, const Call& call) {
    return runtime.iterator<Deferred>(call, list_unique);
}
Value batch(Runtime& runtime, const Call& call) {
    return runtime.iterator<Deferred>(call, list_batches);
}
Value slice(Runtime& runtime, const Call& call) {
    return runtime.iterator<Deferred>(call, list_slices);
}

Value first(Runtime& runtime, const Call& call) {
    Value item;
    if (runtime.next(iterate_or_fail(runtime, call.receiver), item)) return item;
    return Value::undefined("the first item of none");
}

Value last(Runtime& runtime, const Call& call) {
    Value item;
    Iterator* it = iterate_reversed(runtime, call.receiver);
    if (it == nullptr) fail_type("a sequence with an end", call.receiver);
    if (runtime.next(*it, item)) return item;
    return Value::undefined("the last item of none");
}

Value list(Runtime& runtime, const Call& call) {
    return to_list(runtime, call.receiver);
}

Value reverse(Runtime& runtime, const Call& call) {
    if (call.receiver.is_string()) {
        return jinja::slice(runtime, call.receiver, Value::none(), Value::none(), Value::integer(-1));
    }
    if (Iterator* it = iterate_reversed(runtime, call.receiver)) return Value::object(Kind::iterator, it);
    const Value all = to_list(runtime, call.receiver);
    return jinja::slice(runtime, all, Value::none(), Value::none(), Value::integer(-1));
}

Value join(Runtime& runtime, const Call& call) {
    const std::string_view separator = call.has(0) ? to_text(runtime, call[0]) : "";
    const AttributePath path(runtime, call[1]);
    Iterator& it = iterate_or_fail(runtime, call.receiver);
    std::string out;
    Value item;
    for (bool first_item = true; runtime.next(it, item); first_item = false) {
        if (!first_item) out += separator;
        runtime.meter().charge_bytes(separator.size());
        append_text(runtime, out, path.get(runtime, item));
    }
    return runtime.text(out);
}

Value maximum(Runtime& runtime, const Call& call) {
    return best<Operator::gt>(runtime, call);
}
Value minimum(Runtime& runtime, const Call& call) {
    return best<Operator::lt>(runtime, call);
}

Value sum(Runtime& runtime, const Call& call) {
    const AttributePath path(runtime, call[0]);
    Value total = value_or(call[1], Value::integer(0));
    if (total.is_string()) fail("strings are joined, not summed");
    Iterator& it = iterate_or_fail(runtime, call.receiver);
    Value item;
    while (runtime.next(it, item)) {
        total = arithmetic(runtime, Operator::add, total, path.get(runtime, item));
    }
    return total;
}

Value sort(Runtime& runtime, const Call& call) {
    const bool case_sensitive = flag(call[1]);
    std::vector<AttributePath> paths; // "age,name": by the first, then by the second
    if (call.has(2) && call[2].is_string()) {
        for (const std::string_view part : split(runtime, call[2].text(), Value::string(","), -1)) {
            paths.emplace_back(runtime, Value::string(part));
        }
    } else {
        paths.emplace_back(runtime, call[2]);
    }
    std::vector<Keyed> keyed;
    Iterator& it = iterate_or_fail(runtime, call.receiver);
    Value item;
    while (runtime.next(it, item)) {
        std::vector<Value> keys;
        for (const AttributePath& path : paths) {
            const Value key = path.get(runtime, item);
            keys.push_back(case_sensitive ? key : fold_case(runtime, key));
        }
        keyed.push_back({runtime.list(keys), item});
    }
    sort_by_key(runtime, keyed, flag(call[0]));
    return items_of(runtime, keyed);
}

Value dict_sort(Runtime& runtime, const Call& call) {
    if (!call.receiver.is(Kind::dict)) fail_type("a dict", call.receiver);
    const bool case_sensitive = flag(call[0]);
    const std::string_view by = call.has(1) ? string_argument(call[1], "dictsort") : "key";
    if (by != "key" && by != "value") fail("'dictsort' sorts by 'key' or by 'value'");
    std::vector<Keyed> keyed;
    for (const Entry& entry : call.receiver.entries()) {
        const Value key = by == "key" ? entry.key : entry.value;
        const Value pair[] = {entry.key, entry.value};
        keyed.push_back({case_sensitive ? key : fold_case(runtime, key), runtime.tuple(pair)});
    }
    sort_by_key(runtime, keyed, flag(call[2]));
    return items_of(runtime, keyed);
}

Value group_by(Runtime& runtime, const Call& call) {
    const AttributePath path(runtime, call[0]);
    const Value otherwise = call.has(1) && !call[1].is(Kind::none) ? call[1] : Value::missing();
    const bool case_sensitive = flag(call[2]);
    std::vector<Keyed> keyed;
    Iterator& it = iterate_or_fail(runtime, call.receiver);
    Value item;
    while (runtime.next(it, item)) {
        const Value key = path.get(runtime, item, otherwise);
        keyed.push_back({case_sensitive ? key : fold_case(runtime, key), item});
    }
    sort_by_key(runtime, keyed, false);
    ListBuilder groups(runtime);
    for (std::size_t begin = 0; begin < keyed.size();) {
        ListBuilder group(runtime);
        std::size_t end = begin;
        while (end < keyed.size() && equal(runtime, keyed[begin].key, keyed[end].key))
            group.push(keyed[end++].item);
        const Value pair[] = {path.get(runtime, keyed[begin].item, otherwise), group.list()};
        groups.push(Value::group(runtime.copy(pair)));
        begin = end;
    }
    return groups.list();
}

} // namespace filters
} // namespace lucebox::text::jinja
