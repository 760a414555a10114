// Global functions, and the methods of dicts, lists, tuples, and of `loop`.
#include "text/jinja/loop.h"
#include "text/jinja/table.h"
#include "text/jinja/text_functions.h"

#include <chrono>
#include <ctime>

namespace lucebox::text::jinja {
namespace {

// --- Methods

Value dict_keys(Runtime&, const Call& call) { return Value::dict(call.receiver.entries(), Kind::dict_keys); }
Value dict_values(Runtime&, const Call& call) { return Value::dict(call.receiver.entries(), Kind::dict_values); }
Value dict_items(Runtime&, const Call& call) { return Value::dict(call.receiver.entries(), Kind::dict_items); }

Value dict_get(Runtime& runtime, const Call& call) {
    const Value* found = find_key(runtime, call.receiver.entries(), call[0]);
    if (found != nullptr) return *found;
    return call.has(1) ? call[1] : Value::none();
}

Value copy(Runtime&, const Call& call) { return call.receiver; } // nothing can be changed anyway

Value list_count(Runtime& runtime, const Call& call) {
    std::int64_t count = 0;
    for (const Value& item : call.receiver.items()) count += equal(runtime, item, call[0]) ? 1 : 0;
    return Value::integer(count);
}

Value list_index(Runtime& runtime, const Call& call) {
    const auto items = call.receiver.items();
    const auto size = static_cast<std::int64_t>(items.size());
    const auto bound = [&](std::size_t i, std::int64_t otherwise) {
        std::int64_t at = call.has(i) ? to_integer(call[i]) : otherwise;
        if (at < 0) at += size;
        return std::clamp<std::int64_t>(at, 0, size);
    };
    for (std::int64_t i = bound(1, 0); i < bound(2, size); ++i) {
        if (equal(runtime, items[static_cast<std::size_t>(i)], call[0])) return Value::integer(i);
    }
    fail("the item to find is not in the list");
}

Value loop_cycle(Runtime&, const Call& call) {
    const auto items = call.raw.positional;
    if (items.empty() || !call.raw.named.empty()) fail("expected the items to cycle through");
    return items[call.receiver.as_loop().index0() % items.size()];
}

Value loop_changed(Runtime& runtime, const Call& call) {
    return Value::boolean(call.receiver.as_loop().changed(runtime, Value::tuple(call.raw.positional)));
}

// The methods without a function change their receiver, which the sandbox forbids; they hide keys of their names.
constexpr Builtin dict_methods[] = {
    {"clear", nullptr},
    {"copy", copy, 0, 0, {}},
    {"get", dict_get, 1, 2, {}},
    {"items", dict_items, 0, 0, {}},
    {"keys", dict_keys, 0, 0, {}},
    {"pop", nullptr},
    {"popitem", nullptr},
    {"setdefault", nullptr},
    {"update", nullptr},
    {"values", dict_values, 0, 0, {}},
};
constexpr Builtin list_methods[] = {
    {"append", nullptr}, {"clear", nullptr}, {"copy", copy, 0, 0, {}}, {"count", list_count, 1, 1, {}},
    {"extend", nullptr}, {"index", list_index, 1, 3, {}}, {"insert", nullptr}, {"pop", nullptr},
    {"remove", nullptr}, {"reverse", nullptr}, {"sort", nullptr},
};
constexpr Builtin tuple_methods[] = {
    {"count", list_count, 1, 1, {}},
    {"index", list_index, 1, 3, {}},
};
constexpr Builtin loop_methods[] = {
    {"changed", loop_changed, 0, Builtin::variadic, {}},
    {"cycle", loop_cycle, 0, Builtin::variadic, {}},
};
static_assert(is_sorted_by_name(dict_methods) && is_sorted_by_name(list_methods));
static_assert(is_sorted_by_name(tuple_methods) && is_sorted_by_name(loop_methods));

// --- Functions

// The original's limit for sandboxed templates.
constexpr std::int64_t max_range = 100'000;

Value make_range(Runtime& runtime, const Call& call) {
    Range range{0, to_integer(call[0]), 1, 0};
    if (call.has(1)) {
        range.start = range.stop;
        range.stop = to_integer(call[1]);
    }
    if (call.has(2)) range.step = to_integer(call[2]);
    if (range.step == 0) fail("the step of a range is zero");
    // Unsigned differences hold the distance of any two integers.
    const auto magnitude = [](std::int64_t high, std::int64_t low) {
        return static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
    };
    const bool up = range.step > 0;
    const bool empty = up ? range.start >= range.stop : range.start <= range.stop;
    if (!empty) {
        const std::uint64_t distance = up ? magnitude(range.stop, range.start) : magnitude(range.start, range.stop);
        const std::uint64_t stride = up ? magnitude(range.step, 0) : magnitude(0, range.step);
        const std::uint64_t count = (distance - 1) / stride + 1;
        if (count > static_cast<std::uint64_t>(max_range)) fail("a range of more than 100000 numbers");
        range.count = static_cast<std::int64_t>(count);
    }
    return Value::object(Kind::range, runtime.heap().make<Range>(range));
}

// The entries of an optional dict, or sequence of pairs, and of the named arguments over them.
std::vector<Entry> merged_entries(Runtime& runtime, const CallArguments& arguments) {
    std::vector<Entry> entries;
    const auto put = [&](const Value& key, const Value& value) {
        const Value* known = find_key(runtime, entries, key);
        if (known != nullptr) {
            *const_cast<Value*>(known) = value;
        } else {
            entries.push_back({key, value});
        }
    };
    if (arguments.positional.size() > 1) fail("expected one dict at most");
    if (!arguments.positional.empty()) {
        const Value& first = arguments.positional[0];
        if (first.is(Kind::dict)) {
            entries.assign(first.entries().begin(), first.entries().end());
        } else {
            Iterator& it = iterate_or_fail(runtime, first);
            Value item;
            while (runtime.next(it, item)) {
                const auto pair = to_list(runtime, item).items();
                if (pair.size() != 2) fail("expected pairs of a key and a value");
                put(pair[0], pair[1]);
            }
        }
    }
    for (const Entry& entry : arguments.named) put(entry.key, entry.value);
    return entries;
}

std::span<Entry> copy_entries(Runtime& runtime, const std::vector<Entry>& entries) {
    const auto copied = runtime.heap().make_array<Entry>(entries.size());
    std::copy(entries.begin(), entries.end(), copied.begin());
    return copied;
}

Value make_dict(Runtime& runtime, const Call& call) {
    return Value::dict(copy_entries(runtime, merged_entries(runtime, call.raw)));
}

Value make_namespace(Runtime& runtime, const Call& call) {
    const auto entries = copy_entries(runtime, merged_entries(runtime, call.raw));
    for (const Entry& entry : entries) {
        if (!entry.key.is_string()) fail("a namespace's attribute is not a name");
    }
    Namespace* ns = runtime.heap().make<Namespace>(Namespace{entries.data(), entries.size(), entries.size()});
    return Value::object(Kind::name_space, ns);
}

Value raise_exception(Runtime& runtime, const Call& call) {
    // The template's own words; a message of megabytes helps nobody.
    fail(std::string(to_text(runtime, call[0]).substr(0, 1000)));
}

Value strftime_now(Runtime& runtime, const Call& call) {
    const std::string format(string_argument(call[0], "strftime_now"));
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm local{};
    localtime_r(&now, &local);
    char buffer[512];
    const std::size_t size = std::strftime(buffer, sizeof buffer, format.c_str(), &local);
    if (size == 0 && !format.empty()) fail("a date longer than 511 bytes");
    return runtime.text({buffer, size});
}

constexpr Builtin functions[] = {
    {"dict", make_dict, 0, Builtin::variadic, {}},
    {"namespace", make_namespace, 0, Builtin::variadic, {}},
    {"raise_exception", raise_exception, 1, 1, {"message"}},
    {"range", make_range, 1, 3, {}},
    {"strftime_now", strftime_now, 1, 1, {"format"}},
};
static_assert(is_sorted_by_name(functions));

} // namespace

const Builtin* find_global(std::string_view name) { return find_by_name(functions, name); }
std::span<const Builtin> globals() { return functions; }

const Builtin* find_method(Kind kind, std::string_view name) {
    switch (kind) {
    case Kind::dict: return find_by_name(dict_methods, name);
    case Kind::list: return find_by_name(list_methods, name);
    case Kind::tuple: return find_by_name(tuple_methods, name);
    case Kind::loop: return find_by_name(loop_methods, name);
    default: return nullptr;
    }
}

} // namespace lucebox::text::jinja
