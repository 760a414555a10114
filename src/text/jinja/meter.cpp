#include "text/jinja/meter.h"

#include <ctime>

namespace lucebox::text::jinja {

std::chrono::nanoseconds thread_cpu_time() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

void Meter::check() {
    if (used_ > budget_.steps) fail("the template took more steps than its budget allows");
    if (thread_cpu_time() > deadline_) fail("the template took more time than its budget allows");
    next_check_ = used_ + clock_interval;
    if (next_check_ > budget_.steps) next_check_ = budget_.steps + 1;
}

} // namespace lucebox::text::jinja
