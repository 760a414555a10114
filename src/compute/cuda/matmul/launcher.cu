#include "compute/cuda/matmul/launcher.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <mutex>

namespace lucebox::compute::cuda {
namespace {

Kernel stream_kernel(std::size_t width, Form form) {
    constexpr std::array by_width{stream_kernel_8, stream_kernel_16, stream_kernel_32, stream_kernel_64};
    return by_width[width](form);
}

// Rows beyond 64 are columns of 64.
Kernel fallback_kernel(std::size_t width) {
    constexpr std::array by_width{fallback_kernel_8, fallback_kernel_16, fallback_kernel_32, fallback_kernel_64};
    return by_width[width]();
}

template <class Argument>
const void* symbol(void (*kernel)(Argument)) {
    return reinterpret_cast<const void*>(kernel);
}

// All of a multiprocessor's memory that can be shared memory should be: two blocks must fit, and blocks of the next
// launch cannot come while a different division is in force.
void allow_shared(const void* kernel, std::size_t bytes) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
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

// How long workers take for so many items of 256 and then of 128 rows, in the former's time: each takes what is next when it is
// free.
double wide_time(int wide, int narrow, int workers) {
    constexpr double narrow_time = 0.56, launch_time = 0.02;
    const double early = wide / workers, late = early + 1;
    const int many = wide % workers; // who work until `late`
    const double begin = many > 0 ? late : early;
    if (narrow == 0) return begin;
    double time = begin;
    for (;;) {
        const double of_early = std::floor((time - early) / narrow_time + 1e-6), of_late = std::floor((time - late) / narrow_time + 1e-6);
        if ((workers - many) * of_early + many * std::max(0.0, of_late) >= narrow) return time + launch_time;
        time = std::min(early + (of_early + 1) * narrow_time, late + (of_late + 1) * narrow_time);
    }
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
    for (std::size_t width = 0; stream_ && width < wide_widths.size(); ++width)
        for (int form = 0; form < forms; ++form)
            wide_rooms_[width][static_cast<std::size_t>(form)] = wide_room(width, static_cast<Form>(form));
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
    constexpr std::array<int, 4> stages{8, 6, 4, 4};
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
    allow_shared(symbol(room.kernel), room.bytes);
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
    room.bytes = fallback_shared_bytes(widths[width]);
    allow_shared(symbol(room.kernel), room.bytes);
    int active = 0;
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&active, room.kernel, fallback_threads, room.bytes);
    room.seats = seats_for(active * processors_);
    return room;
}

Launcher::WideRoom Launcher::wide_room(std::size_t width, Form form) const {
    WideRoom room;
    room.kernel = width == 0 ? wide_kernel_128(form) : wide_kernel_256(form);
    allow_shared(symbol(room.kernel), shared_of_block_);
    cudaLaunchConfig_t config = config_of(processors_ / wide_blocks * wide_blocks, wide_threads, shared_of_block_);
    cudaLaunchAttribute cluster = cluster_of(wide_blocks);
    config.attrs = &cluster;
    config.numAttrs = 1;
    cudaOccupancyMaxActiveClusters(&room.seats, symbol(room.kernel), &config);
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
    job.columns = job.rows > 64 ? static_cast<int>((job.rows + 63) / 64) : 0;

    cudaLaunchConfig_t config =
        config_of(room.seats * blocks(), stream_ ? stream_threads : fallback_threads, room.bytes);
    start(config, symbol(room.kernel), &job, stream_ ? stream_blocks : 1, stream);
}

void Launcher::launch(WideJob job, std::span<const PlannedTarget> targets, WideProduct& product, bool last,
                      cudaStream_t stream) const {
    const Form form = targets[0].form;
    job.units = targets[0].units;
    for (std::size_t i = 0; i < targets.size(); ++i) {
        job.target[i] = targets[i].target;
        job.tiles += targets[i].target.tiles;
    }
    if (job.gated) job.tiles /= 2;
    const int group = job.gated ? wide_blocks : 2 * wide_blocks;
    job.groups = (job.tiles + group - 1) / group;

    const auto rows = static_cast<int>(job.rows);
    const auto narrow_columns = [&](int wide) { return (std::max(0, rows - wide * 256) + 127) / 128; };
    int wide = (rows + 127) / 256; // a column of 256, unless 128 are enough
    if (last) {
        double best = 0;
        const int workers = wide_rooms_[1][static_cast<std::size_t>(form)].seats;
        for (int columns = (rows + 255) / 256, least = columns; columns >= 0; --columns) {
            const double time = wide_time(product.wide_items + job.groups * columns,
                                          product.narrow_items + job.groups * narrow_columns(columns), workers);
            if (columns == least || time < best) best = time, wide = columns;
        }
    }
    job.first_row = 0;
    job.columns = wide;
    if (job.columns > 0) launch_columns(job, form, 1, product, stream);
    job.first_row = static_cast<std::uint32_t>(wide) * 256;
    job.columns = narrow_columns(wide);
    if (job.columns > 0) launch_columns(job, form, 0, product, stream);
}

void Launcher::launch_columns(WideJob& job, Form form, std::size_t width, WideProduct& product, cudaStream_t stream) const {
    const auto bytes = [&] {
        return wide_shared_bytes(wide_widths[width], job.stages, job.slots, unit_bytes(form), job.gated != 0);
    };
    job.stages = 4, job.slots = 3;
    if (bytes() > shared_of_block_) job.slots = 2;
    while (bytes() > shared_of_block_)
        --job.stages;
    job.joined = product.launches > 0 ? 1 : 0;
    job.counter = product.counters + product.launches++;
    (width == 0 ? product.narrow_items : product.wide_items) += job.groups * job.columns;
    const WideRoom& room = wide_rooms_[width][static_cast<std::size_t>(form)];
    cudaLaunchConfig_t config =
        config_of(std::min(room.seats, job.groups * job.columns) * wide_blocks, wide_threads, bytes());
    start(config, symbol(room.kernel), &job, wide_blocks, stream);
}

// `cluster`: blocks; 1: none.
void Launcher::start(cudaLaunchConfig_t& config, const void* kernel, void* job, int cluster, cudaStream_t stream) const {
    config.stream = stream;
    std::array<cudaLaunchAttribute, 2> attributes{};
    unsigned count = 0;
    if (dependent_launch_) {
        attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster > 1) attributes[count++] = cluster_of(cluster);
    config.attrs = attributes.data();
    config.numAttrs = count;
    void* arguments[] = {job};
    cudaLaunchKernelExC(&config, kernel, arguments);
}

} // namespace lucebox::compute::cuda
