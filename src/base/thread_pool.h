// A fixed set of threads that run one loop together, many times a token.
//
// Owned by a compute device; run() may be called by one thread at a time and returns when every index is done. Waiting
// threads spin briefly before they sleep, because two loops of one step are microseconds apart. A worker takes part in a
// loop only if it comes while there is work left: one that the system does not schedule, because other programs want the
// core, delays nobody. Never allocates after construction. The function must not throw.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace lucebox {

class ThreadPool {
public:
    // threads: including the caller; 0 means one for each core this process may use.
    explicit ThreadPool(std::size_t threads = 0);
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;
    ~ThreadPool();

    std::size_t size() const { return workers_.size() + 1; }

    // Calls function(begin, end, thread) over disjoint ranges that cover 0..count. A range has `grain` indices (the last
    // one may be shorter), handed out as threads become free: results must not depend on which thread runs which range.
    template <class Function>
    void run(std::size_t count, std::size_t grain, Function&& function) {
        using Plain = std::remove_reference_t<Function>;
        dispatch({[](void* context, std::size_t begin, std::size_t end, std::size_t thread) {
                      (*static_cast<Plain*>(context))(begin, end, thread);
                  },
                  const_cast<void*>(static_cast<const void*>(&function)), count, grain == 0 ? 1 : grain});
    }

private:
    struct Loop {
        void (*call)(void*, std::size_t, std::size_t, std::size_t) = nullptr;
        void* context = nullptr;
        std::size_t count = 0;
        std::size_t grain = 1;
    };

    void dispatch(const Loop& loop);
    void work(std::size_t thread);
    void drain(std::size_t thread);
    bool join(std::uint32_t generation);

    std::vector<std::thread> workers_;
    Loop loop_;
    alignas(64) std::atomic<std::size_t> next_{0};
    alignas(64) std::atomic<std::uint32_t> generation_{0}; // of the last loop; what sleeping workers wait for
    // Who may touch loop_: the low bits count the workers inside, `open` says that others may enter, the rest is the
    // generation. loop_ changes only while nobody is inside and the door is closed.
    alignas(64) std::atomic<std::uint64_t> door_{0};
    std::atomic<bool> stop_{false};
};

} // namespace lucebox
