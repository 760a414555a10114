#include "compute/cuda/attention/prompt.cuh"

namespace lucebox::compute::cuda {

FlashInstance prompt_instance(std::size_t head_dim) {
    if (head_dim == 128) return {prompt_attention<128>, PromptShape<128>::shared_bytes, 1};
    return {prompt_attention<256>, PromptShape<256>::shared_bytes, 1};
}

// Asked of the code that would run: PTX of another architecture has an empty kernel.
bool prompt_attention_runs(int shared_limit) {
    for (const std::size_t head_dim : {std::size_t{128}, std::size_t{256}}) {
        const FlashInstance found = prompt_instance(head_dim);
        const auto* const kernel = reinterpret_cast<const void*>(found.kernel);
        cudaFuncAttributes attributes{};
        if (found.shared_bytes > static_cast<std::size_t>(shared_limit) ||
            cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess || attributes.maxThreadsPerBlock < prompt_threads ||
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(found.shared_bytes)) !=
                cudaSuccess) {
            cudaGetLastError(); // what was refused is no error
            return false;
        }
    }
    return true;
}

} // namespace lucebox::compute::cuda
