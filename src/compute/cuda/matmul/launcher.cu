#include "compute/cuda/matmul/launcher.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <mutex>

namespace lucebox::compute::cuda {
namespace {

Kernel stream_kernel(std::size_t width, Form form) {
    constexpr std::array by_width{stream_kernel_8, stream_kernel_16, stream_kernel_32, stream_kernel_64,
                                  stream_kernel_128};
    return by_width[width](form);
}

// Rows beyond 64 are columns of 64.
Kernel fallback_kernel(std::size_t width) {
    constexpr std::array by_width{fallback_kernel_8, fallback_kernel_16, fallback_kernel_32, fallback_kernel_64,
                                  fallback_kernel_64};
    return by_width[width]();
}

const void* symbol(Kernel kernel) {
    return reinterpret_cast<const void*>(kernel);
}

// All of a multiprocessor's memory that can be shared memory should be: two blocks must fit, and blocks of the next
// launch cannot come while a different division is in force.
void allow_shared(Kernel kernel, std::size_t bytes) {
    cudaFuncSetAttribute(symbol(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    cudaFuncSetAttribute(symbol(kernel), cudaFuncAttributePreferredSharedMemoryCarveout,
                         cudaSharedmemCarveoutMaxShared);
}

cudaLaunchAttribute cluster_of(int blocks) {
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(blocks);
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    return attribute;
}

cudaLaunchConfig_t config_of(int blocks, int threads, std::size_t shared) {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = shared;
    return config;
}

} // namespace

const Launcher& Launcher::of_device() {
    constexpr int most = 64;
    static std::array<Launcher, most> launchers;
    static std::array<std::once_flag, most> asked;
    int device = 0;
    cudaGetDevice(&device);
    device = std::clamp(device, 0, most - 1);
    Launcher& launcher = launchers[static_cast<std::size_t>(device)];
    std::call_once(asked[static_cast<std::size_t>(device)], [&] { launcher.ask(device); });
    return launcher;
}

void Launcher::ask(int device) {
    auto attribute = [&](cudaDeviceAttr which) {
        int value = 0;
        cudaDeviceGetAttribute(&value, which, device);
        return value;
    };
    processors_ = attribute(cudaDevAttrMultiProcessorCount);
    shared_ = static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor));
    shared_of_block_ = static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
    dependent_launch_ = attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
    // The empty form of the kernel, that other architectures have, is bounded to one warp.
    cudaFuncAttributes attributes{};
    stream_ = cudaFuncGetAttributes(&attributes, symbol(stream_kernel(0, Form::q4_k))) == cudaSuccess &&
              attributes.maxThreadsPerBlock >= stream_threads;
    workers_ = std::min(processors_ * 2 / blocks(), max_workers) / 2 * 2;
    for (std::size_t width = 0; width < widths.size(); ++width)
        for (int form = 0; form < forms; ++form) {
            Room& room = rooms_[width][static_cast<std::size_t>(form)];
            if (stream_)
                room = stream_room(width, static_cast<Form>(form));
            else
                room = form == 0 ? fallback_room(width) : rooms_[width][0];
        }
}

// The most that can run at once and divides the workers evenly: a seat does the shares of so many workers.
int Launcher::seats_for(int active) const {
    int shares = 1;
    while (shares < workers_ && (workers_ % shares != 0 || workers_ / shares > active))
        ++shares;
    return workers_ / shares;
}

// As many weight slots as fit: in half of a multiprocessor's memory if the instance is made for two blocks, else in
// all.
Launcher::Room Launcher::stream_room(std::size_t width, Form form) const {
    constexpr std::array<int, 5> stages{8, 6, 4, 4, 4};
    constexpr std::size_t reserved = 1024; // by the system, for each block
    const int n = widths[width];
    Room room;
    room.kernel = stream_kernel(width, form);
    room.activation_stages = stages[width];
    room.slot_bytes = part_bytes(form);
    auto bytes = [&](int slots) { return stream_shared_bytes(n, room.activation_stages, slots, room.slot_bytes); };
    auto fits = [&](std::size_t most) {
        room.weight_slots = 0;
        while (room.weight_slots < 8 && bytes(room.weight_slots + 1) <= most)
            ++room.weight_slots;
        return room.weight_slots >= 2;
    };
    if ((stream_residents(n) < 2 || !fits(shared_ / 2 - reserved)) && !fits(shared_of_block_)) {
        room.activation_stages = 2;
        fits(shared_of_block_);
    }
    room.bytes = bytes(room.weight_slots);
    allow_shared(room.kernel, room.bytes);
    cudaLaunchConfig_t config = config_of(workers_ * stream_blocks, stream_threads, room.bytes);
    cudaLaunchAttribute cluster = cluster_of(stream_blocks);
    config.attrs = &cluster;
    config.numAttrs = 1;
    int active = 0;
    cudaOccupancyMaxActiveClusters(&active, symbol(room.kernel), &config);
    room.seats = seats_for(active);
    return room;
}

Launcher::Room Launcher::fallback_room(std::size_t width) const {
    Room room;
    room.kernel = fallback_kernel(width);
    room.bytes = fallback_shared_bytes(std::min(widths[width], 64));
    allow_shared(room.kernel, room.bytes);
    int active = 0;
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&active, room.kernel, fallback_threads, room.bytes);
    room.seats = seats_for(active * processors_);
    return room;
}

void Launcher::launch(Job& job, std::span<const PlannedTarget> targets, cudaStream_t stream) const {
    std::size_t width = 0;
    while (width + 1 < widths.size() && static_cast<std::uint32_t>(widths[width]) < job.rows)
        ++width;
    job.workers = workers_;
    plan_groups(job, targets, workers_, 2 * blocks());
    const Room& room = rooms_[width][static_cast<std::size_t>(job.run[0].form)];
    job.activation_stages = room.activation_stages;
    job.weight_slots = room.weight_slots;
    job.slot_bytes = room.slot_bytes;
    const auto column = static_cast<std::uint32_t>(stream_ ? widths[width] : std::min(widths[width], 64));
    job.columns = job.rows > 64 ? static_cast<int>((job.rows + column - 1) / column) : 0;

    cudaLaunchConfig_t config =
        config_of(room.seats * blocks(), stream_ ? stream_threads : fallback_threads, room.bytes);
    config.stream = stream;
    std::array<cudaLaunchAttribute, 2> attributes{};
    unsigned count = 0;
    if (dependent_launch_) {
        attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (stream_) attributes[count++] = cluster_of(stream_blocks);
    config.attrs = attributes.data();
    config.numAttrs = count;
    void* arguments[] = {&job};
    cudaLaunchKernelExC(&config, symbol(room.kernel), arguments);
}

} // namespace lucebox::compute::cuda
