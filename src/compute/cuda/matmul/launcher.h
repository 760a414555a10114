// Which kernels the current device runs, with how much shared memory and how many blocks, and their launch.
//
// Asked of the driver once for each device, at the first use: matmul_workspace_bytes() makes that happen before
// anything is captured. Any thread.
#pragma once

#include "compute/cuda/matmul/kernels.h"
#include "compute/cuda/matmul/plan.h"
#include "compute/cuda/matmul/wide_job.h"

#include <array>
#include <span>

using cudaStream_t = struct CUstream_st*;
struct cudaLaunchConfig_st;

namespace lucebox::compute::cuda {

class Launcher {
public:
    static const Launcher& of_device();

    // Among whom shares are dealt out, whatever the number of rows: as for two blocks an SM. Even.
    int workers() const { return workers_; }
    int blocks() const { return stream_ ? stream_blocks : 1; } // of a worker
    bool one_form() const { return stream_; }                  // a launch's targets must have the same
    bool wide(std::size_t rows) const { return stream_ && rows > 64; } // that launch() takes a WideJob

    // Fills in what `job` lacks but its operand, rows, workspace and gate, and queues it.
    void launch(Job& job, std::span<const PlannedTarget> targets, cudaStream_t stream) const;
    // The same, with columns of many rows. The launches of one product run as one; `product` is what they have in common,
    // and `last` says that no form follows.
    struct WideProduct {
        std::uint32_t* counters = nullptr; // [most_wide_launches]
        int launches = 0, wide_items = 0, narrow_items = 0; // so far
    };
    static constexpr int most_wide_launches = 2 * max_targets;
    void launch(WideJob job, std::span<const PlannedTarget> targets, WideProduct& product, bool last, cudaStream_t stream) const;

private:
    static constexpr std::array widths{8, 16, 32, 64};     // rows that an instance multiplies at once
    static constexpr std::array wide_widths{128, 256}; // of more than 64 rows
    static constexpr int forms = static_cast<int>(Form::f32) + 1;

    // Of one instance. All its blocks must run at once, since some wait for others: `seats` times blocks() do.
    struct Room {
        Kernel kernel = nullptr;
        int activation_stages = 0, weight_slots = 0, slot_bytes = 0;
        std::size_t bytes = 0;
        int seats = 0;
    };
    void ask(int device);
    Room stream_room(std::size_t width, Form form) const;
    Room fallback_room(std::size_t width) const;
    struct WideRoom {
        WideKernel kernel = nullptr;
        int seats = 0;
    };
    WideRoom wide_room(std::size_t width, Form form) const;
    void launch_columns(WideJob& job, Form form, std::size_t width, WideProduct& product, cudaStream_t stream) const;
    int seats_for(int active) const;
    void start(cudaLaunchConfig_st& config, const void* kernel, void* job, int cluster, cudaStream_t stream) const;

    bool stream_ = false, dependent_launch_ = false;
    int processors_ = 0, workers_ = 0;
    std::size_t shared_ = 0, shared_of_block_ = 0;   // memory of a multiprocessor, of a block
    std::array<std::array<Room, forms>, widths.size()> rooms_{}; // the fallback's are the same for every form
    std::array<std::array<WideRoom, forms>, wide_widths.size()> wide_rooms_{};
};

} // namespace lucebox::compute::cuda
