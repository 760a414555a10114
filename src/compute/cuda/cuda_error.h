// What the CUDA runtime reports, as our errors: a sentence with the call's purpose, a kind, and what to do.
#pragma once

#include "base/result.h"

#include <cuda_runtime_api.h>
#include <string_view>

namespace lucebox::compute::cuda {

Error cuda_error(cudaError_t code, std::string_view purpose);

inline Status cuda_status(cudaError_t code, std::string_view purpose) {
    if (code == cudaSuccess) return Ok{};
    return cuda_error(code, purpose);
}

} // namespace lucebox::compute::cuda
