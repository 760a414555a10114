// Where the time of the step kernel goes, for those who make it faster: a build with LUCEBOX_STEP_TRACE prints, when
// the device is closed, what each kind of record took in the last launch of each captured segment, in clocks of a
// multiprocessor. Other builds do nothing.
#pragma once

#include "base/result.h"
#include "compute/cuda/memory.h"
#include "compute/cuda/step/record.h"

#include <memory>
#include <vector>

namespace lucebox::compute::cuda {

// A number that such a build takes from the environment, to be tried without compiling; in others the given one.
int step_tuning(const char* name, int value);

class StepTrace {
public:
    StepTrace() = default;
    ~StepTrace();

    Status open(Memory& memory);
    void attach(StepSegment& segment, int blocks);

private:
    int blocks_ = 0;
    std::vector<StepSegment> segments_;
    std::unique_ptr<Buffer> clocks_;
};

} // namespace lucebox::compute::cuda
