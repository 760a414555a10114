// Filters that give generators: nothing is computed, and nothing fails, before somebody walks them.
#include "text/jinja/filters.h"
#include "text/jinja/text_functions.h"

namespace lucebox::text::jinja {

// In interpreter.h's terms: sorts the arguments and calls.
Value call_builtin(Runtime& runtime, const Builtin& builtin, const Value& receiver, const CallArguments& arguments);

namespace filters {
namespace {

const Value* find_named(const CallArguments& arguments, std::string_view name) {
    for (const Entry& entry : arguments.named) {
        if (entry.key.text() == name) return &entry.value;
    }
    return nullptr;
}

const Builtin& known(const Builtin* builtin, std::string_view what, const Value& name) {
    if (builtin == nullptr) fail("there is no " + std::string(what) + " named '" + std::string(name.text()) + "'");
    return *builtin;
}

// Opens the source on the first turn; one that is false in a condition counts as empty.
class LazyFilter : public Iterator {
public:
    LazyFilter(const Value& source, const CallArguments& arguments) : source_(source), arguments_(arguments) {}

    bool next(Runtime& runtime, Value& item) final {
        if (!opened_) {
            opened_ = true;
            if (!is_true(source_)) return false;
            prepare(runtime);
            items_ = &iterate_or_fail(runtime, source_);
        }
        return items_ != nullptr && advance(runtime, *items_, item);
    }

protected:
    virtual void prepare(Runtime& runtime) = 0;
    virtual bool advance(Runtime& runtime, Iterator& items, Value& item) = 0;
    ~LazyFilter() = default;

    Value source_;
    CallArguments arguments_;

private:
    Iterator* items_ = nullptr;
    bool opened_ = false;
};

// map('filter', arguments...) and map(attribute='name', default=value)
class Map final : public LazyFilter {
public:
    using LazyFilter::LazyFilter;

private:
    void prepare(Runtime& runtime) override {
        const Value* attribute = find_named(arguments_, "attribute");
        if (arguments_.positional.empty() && attribute != nullptr) {
            path_ = runtime.heap().make<AttributePath>(runtime, *attribute);
            const Value* otherwise = find_named(arguments_, "default");
            if (arguments_.named.size() > (otherwise != nullptr ? 2u : 1u)) fail("'map' has no such parameter");
            if (otherwise != nullptr && !otherwise->is(Kind::none)) otherwise_ = *otherwise;
            return;
        }
        if (arguments_.positional.empty()) fail("'map' needs the name of a filter");
        const Value& name = arguments_.positional[0];
        filter_ = &known(find_filter(string_argument(name, "map")), "filter", name);
        arguments_.positional = arguments_.positional.subspan(1);
    }

    bool advance(Runtime& runtime, Iterator& items, Value& item) override {
        if (!runtime.next(items, item)) return false;
        item = path_ != nullptr ? path_->get(runtime, item, otherwise_)
                                : call_builtin(runtime, *filter_, item, arguments_);
        return true;
    }

    AttributePath* path_ = nullptr;
    const Builtin* filter_ = nullptr;
    Value otherwise_ = Value::missing();
};

// select, reject: by a test of the item, or of its attribute; without a test by its truth.
class Select final : public LazyFilter {
public:
    Select(const Value& source, const CallArguments& arguments, bool by_attribute, bool keep)
        : LazyFilter(source, arguments), by_attribute_(by_attribute), keep_(keep) {}

private:
    void prepare(Runtime& runtime) override {
        if (by_attribute_) {
            if (arguments_.positional.empty()) fail("expected the name of an attribute");
            path_ = runtime.heap().make<AttributePath>(runtime, arguments_.positional[0]);
            arguments_.positional = arguments_.positional.subspan(1);
        }
        if (arguments_.positional.empty()) return;
        const Value& name = arguments_.positional[0];
        test_ = &known(find_test(string_argument(name, "select")), "test", name);
        arguments_.positional = arguments_.positional.subspan(1);
    }

    bool advance(Runtime& runtime, Iterator& items, Value& item) override {
        while (runtime.next(items, item)) {
            const Value tested = path_ != nullptr ? path_->get(runtime, item) : item;
            const Value verdict = test_ != nullptr ? call_builtin(runtime, *test_, tested, arguments_) : tested;
            if (is_true(verdict) == keep_) return true;
        }
        return false;
    }

    bool by_attribute_, keep_;
    AttributePath* path_ = nullptr;
    const Builtin* test_ = nullptr;
};

} // namespace

Value map(Runtime& runtime, const Call& call) { return runtime.iterator<Map>(call.receiver, call.raw); }

Value select(Runtime& runtime, const Call& call) {
    return runtime.iterator<Select>(call.receiver, call.raw, false, true);
}

Value reject(Runtime& runtime, const Call& call) {
    return runtime.iterator<Select>(call.receiver, call.raw, false, false);
}

Value select_attribute(Runtime& runtime, const Call& call) {
    return runtime.iterator<Select>(call.receiver, call.raw, true, true);
}

Value reject_attribute(Runtime& runtime, const Call& call) {
    return runtime.iterator<Select>(call.receiver, call.raw, true, false);
}

} // namespace filters
} // namespace lucebox::text::jinja
