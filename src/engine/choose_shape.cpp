#include "engine/choose_shape.h"

#include "engine/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::engine {
namespace {

std::string too_much(const MemoryPlan& plan, std::uint64_t room) {
    return fmt::format("{} of {} tokens would take {:.2f} GiB, and {:.2f} can be used", plan.sequences, plan.context,
                       in_gib(plan.total()), in_gib(room));
}

// The type of keys and values, and why: the planner's own, unless that is open and the context needs a smaller one.
Status choose_kv_type(const MemoryPlanner& planner, const Asked& asked, Shape& wanted, const Room& room) {
    using compute::DType;
    DType type = planner.kv_type();
    std::string why = asked.kv_type ? "asked for" : "the default";
    if (!asked.kv_type && type != DType::q8_0 && planner.keeps(DType::q8_0) && room.available != 0) {
        const std::uint64_t usable = room.available - (asked.context != 0 ? 0 : std::min(room.available, room.spare));
        LUCEBOX_TRY(const MemoryPlan least, planner.plan(wanted.context, asked.sequences != 0 ? asked.sequences : 1, type));
        if (least.total() > usable) {
            why = fmt::format("with {}, {}", compute::dtype_name(type), too_much(least, usable));
            type = DType::q8_0;
        }
    }
    wanted.kv_type = type;
    wanted.choices.push_back({"keys and values", std::string(compute::dtype_name(type)), std::move(why)});
    return Ok{};
}

} // namespace

Shape wanted_shape(const Asked& asked, const Wish& wish, std::size_t trained_context) {
    Shape shape;
    shape.context = asked.context;
    std::string why = "asked for";
    if (shape.context == 0) {
        shape.context = wish.context != 0 ? wish.context : default_context;
        why = wish.context != 0 ? wish.why : "the default";
        if (shape.context > trained_context) {
            shape.context = trained_context;
            why = fmt::format("what the model was trained for ({} would be {})", why, wish.context != 0 ? wish.context : default_context);
        }
    }
    shape.sequences = asked.sequences != 0 ? asked.sequences : wish.sequences != 0 ? wish.sequences : default_sequences;
    shape.choices = {{"context", fmt::format("{}", shape.context), std::move(why)},
                     {"sequences", fmt::format("{}", shape.sequences), asked.sequences != 0 ? "asked for" : "the default"}};
    return shape;
}

Result<Shape> fitting_shape(const MemoryPlanner& planner, const Asked& asked, Shape wanted, const Room& room) {
    LUCEBOX_CHECK(choose_kv_type(planner, asked, wanted, room));
    if (room.available == 0) return wanted;
    LUCEBOX_TRY(MemoryPlan plan, planner.plan(wanted.context, wanted.sequences, wanted.kv_type));
    const bool all_asked = asked.context != 0 && asked.sequences != 0;
    if (all_asked) {
        LUCEBOX_CHECK(planner.check(plan, room.available));
        return wanted;
    }
    const std::uint64_t usable = room.available - std::min(room.available, room.spare);
    if (asked.sequences == 0 && plan.total() > usable) {
        const std::string why = too_much(plan, usable);
        while (wanted.sequences > 1 && plan.total() > usable) {
            wanted.sequences /= 2;
            LUCEBOX_TRY(plan, planner.plan(wanted.context, wanted.sequences, wanted.kv_type));
        }
        wanted.choices[1] = {"sequences", fmt::format("{}", wanted.sequences), why};
    }
    if (plan.total() <= usable) return wanted;
    if (asked.context != 0) { // nothing is left to give way but what was to stay free
        LUCEBOX_CHECK(planner.check(plan, room.available));
        return wanted;
    }
    const Status fits = planner.check(plan, usable);
    LUCEBOX_TRY(const std::size_t largest, planner.largest_context(wanted.context, usable, wanted.sequences, wanted.kv_type));
    if (largest < smallest_context) return fits.error();
    wanted.choices[0] = {"context", fmt::format("{}", largest), "the most that fits: " + too_much(plan, usable)};
    wanted.context = largest;
    return wanted;
}

} // namespace lucebox::engine
