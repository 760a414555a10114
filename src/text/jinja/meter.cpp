#include "text/jinja/meter.h"

namespace lucebox::text::jinja {

void Meter::check() {
    if (used_ > budget_.steps) fail("the template took more steps than its budget allows");
    if (thread_cpu_time() > deadline_) fail("the template took more time than its budget allows");
    next_check_ = used_ + clock_interval;
    if (next_check_ > budget_.steps) next_check_ = budget_.steps + 1;
}

} // namespace lucebox::text::jinja
