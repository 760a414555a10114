#include "compute/cuda/weights.h"

#include "compute/cuda/cuda_error.h"
#include "compute/gpu_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace lucebox::compute::cuda {
namespace {

constexpr std::size_t piece_bytes = std::size_t{4} << 20; // large enough for full speed of the bus, small enough to share out
constexpr std::size_t smallest_ring = std::size_t{256} << 20;
constexpr unsigned most_readers = 12; // one thread copies about 5 GB/s out of the page cache; a bus takes up to 50

// Copies out of the mapping. Its pages are brought in by one call instead of a fault each, which is also where a file
// that was cut short since it was opened shows, as an error instead of a signal.
Status read_mapped(const gguf::Tensor& tensor, std::size_t offset, std::span<std::byte> out) {
    const std::byte* const from = tensor.data.data() + offset;
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(from) / page * page;
    const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(from) + out.size();
#ifdef MADV_POPULATE_READ // Linux 5.14; an older kernel refuses it, and pages come one by one
    if (::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ) != 0 && errno == EFAULT) {
        return Error{ErrorKind::io, fmt::format("tensor {} cannot be read: the file is shorter than when it was opened", tensor.name)};
    }
#endif
    std::memcpy(out.data(), from, out.size());
    return Ok{};
}

} // namespace

WeightLoader::~WeightLoader() { stop(); }

void WeightLoader::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    work_.notify_all();
    for (const auto& reader : readers_) {
        if (reader->thread.joinable()) reader->thread.join();
    }
    cudaStreamSynchronize(stream_); // copies out of the slots, and out of the ring
    for (const auto& reader : readers_) {
        for (const Slot& slot : reader->slots) {
            if (slot.sent) cudaEventDestroy(slot.sent);
        }
    }
    readers_.clear();
    ring_.reset();
    cursor_ = 0;
    stopping_ = false;
}

Status WeightLoader::start() {
    if (!readers_.empty()) return Ok{};
    const unsigned count = std::clamp(std::thread::hardware_concurrency(), 2u, most_readers);
    for (unsigned i = 0; i < count; ++i) {
        auto reader = std::make_unique<Reader>();
        for (Slot& slot : reader->slots) {
            LUCEBOX_TRY(slot.memory, memory_.allocate_pinned(piece_bytes));
            LUCEBOX_CHECK(cuda_status(cudaEventCreateWithFlags(&slot.sent, cudaEventDisableTiming), "making an event"));
        }
        readers_.push_back(std::move(reader));
    }
    for (const auto& reader : readers_) reader->thread = std::thread([this, &own = *reader] { read(own); });
    return Ok{};
}

Status WeightLoader::wait_for_all(std::unique_lock<std::mutex>& lock) {
    progress_.wait(lock, [&] {
        while (!jobs_.empty() && jobs_.front()->repacked) jobs_.pop_front();
        return jobs_.empty() || !status_;
    });
    return status_;
}

// A part of the ring that no unfinished tensor lies in. One whose repacking is queued is finished: later copies queue
// behind it.
Status WeightLoader::reserve(std::size_t bytes, std::size_t& offset, std::unique_lock<std::mutex>& lock) {
    if (!ring_ || bytes > ring_->bytes()) {
        LUCEBOX_CHECK(wait_for_all(lock));
        LUCEBOX_CHECK(cuda_status(cudaStreamSynchronize(stream_), "loading weights"));
        ring_.reset();
        LUCEBOX_TRY(ring_, memory_.allocate(std::max(bytes, smallest_ring), true));
        cursor_ = 0;
    }
    if (cursor_ + bytes > ring_->bytes()) cursor_ = 0;
    progress_.wait(lock, [&] {
        while (!jobs_.empty() && jobs_.front()->repacked) jobs_.pop_front();
        const bool in_use = std::ranges::any_of(jobs_, [&](const auto& job) {
            return !job->repacked && job->staging < cursor_ + bytes && cursor_ < job->staging + job->bytes;
        });
        return !in_use || !status_;
    });
    offset = cursor_;
    cursor_ += gpu_aligned(bytes);
    return status_;
}

Result<std::unique_ptr<Matrix>> WeightLoader::load(const gguf::Tensor& tensor) {
    if (!CudaMatrix::supports(tensor.type)) {
        return Error{ErrorKind::unsupported, fmt::format("tensor {} has type {}, which the GPU cannot multiply", tensor.name,
                                                         gguf::block_format(tensor.type).name),
                     "use --device cpu, or another quantisation"};
    }
    LUCEBOX_CHECK(start());
    auto weight = std::make_shared<Weight>();
    LUCEBOX_TRY(weight->memory, memory_.allocate(CudaMatrix::device_bytes(tensor.type, tensor.shape[0], tensor.rows())));
    std::unique_lock lock(mutex_);
    std::size_t offset = 0;
    LUCEBOX_CHECK(reserve(tensor.data.size(), offset, lock));
    jobs_.push_back(std::make_unique<Job>(Job{&tensor, weight, offset, tensor.data.size()}));
    lock.unlock();
    work_.notify_all();
    return std::unique_ptr<Matrix>(std::make_unique<LoadedMatrix>(tensor, std::move(weight)));
}

void WeightLoader::read(Reader& reader) {
    cudaSetDevice(device_);
    for (std::size_t turn = 0;; ++turn) {
        Job* job = nullptr;
        std::size_t offset = 0, bytes = 0;
        {
            std::unique_lock lock(mutex_);
            const auto has_more = [](const auto& candidate) { return candidate->taken < candidate->bytes; };
            work_.wait(lock, [&] { return stopping_ || std::ranges::any_of(jobs_, has_more); });
            if (stopping_) return;
            job = std::ranges::find_if(jobs_, has_more)->get();
            offset = job->taken;
            bytes = std::min(piece_bytes, job->bytes - offset);
            job->taken += bytes;
        }
        const Status status = send(*job, offset, bytes, reader.slots[turn % 2]);
        if (!status) {
            const std::lock_guard lock(mutex_);
            if (status_) status_ = status;
        }
        progress_.notify_all();
        if (!status) return;
    }
}

// One piece: file -> slot -> ring; behind the last one, the repacking.
Status WeightLoader::send(Job& job, std::size_t offset, std::size_t bytes, Slot& slot) {
    LUCEBOX_CHECK(cuda_status(cudaEventSynchronize(slot.sent), "loading weights"));
    LUCEBOX_CHECK(read_mapped(*job.tensor, offset, {slot.memory.data(), bytes}));
    const std::lock_guard lock(mutex_); // the order of the stream is the order of `sent`
    std::byte* const to = ring_->data() + job.staging;
    LUCEBOX_CHECK(cuda_status(cudaMemcpyAsync(to + offset, slot.memory.data(), bytes, cudaMemcpyHostToDevice, stream_),
                              "loading weights"));
    LUCEBOX_CHECK(cuda_status(cudaEventRecord(slot.sent, stream_), "loading weights"));
    job.sent += bytes;
    if (job.sent < job.bytes) return Ok{};
    job.weight->product = CudaMatrix::repack(job.tensor->type, job.tensor->shape[0], job.tensor->rows(), to,
                                             job.weight->memory->data(), stream_);
    LUCEBOX_CHECK(cuda_status(cudaGetLastError(), "repacking weights"));
    job.repacked = true;
    return Ok{};
}

Status WeightLoader::finish() {
    Status status = Ok{};
    {
        std::unique_lock lock(mutex_);
        status = wait_for_all(lock);
    }
    if (status) status = cuda_status(cudaStreamSynchronize(stream_), "loading weights");
    stop();
    return status;
}

} // namespace lucebox::compute::cuda
