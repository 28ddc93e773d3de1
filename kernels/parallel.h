// Work split over the calling thread and helpers of its own. No pool is shared, so that no caller waits for another; no
// caller waits for a helper that has not begun yet, which on a busy machine may take longer than the work.
#pragma once

#if !defined(_WIN32)
#include <unistd.h>
#endif

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace rarefy {

// Threads that sleep until their owner, one thread, has work for them.
class Helpers {
public:
    Helpers() = default;
    Helpers(const Helpers&) = delete;
    Helpers& operator=(const Helpers&) = delete;

    ~Helpers() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            is_ending_ = true;
        }
        wake_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

    // Run `work` here and on up to `count` helpers; return when all that began it have ended. It must not throw.
    template <class Work>
    void run(int count, const Work& work) {
        grow(count);
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            call_ = [](const void* context) { (*static_cast<const Work*>(context))(); };
            context_ = &work;
            wanted_ = count;
        }
        wake_.notify_all();
        work();
        std::unique_lock<std::mutex> lock(mutex_);
        wanted_ = 0;
        done_.wait(lock, [this] { return busy_ == 0; });
    }

private:
    // Where the system gives fewer threads, those that there are do the work.
    void grow(int count) {
        try {
            while (static_cast<int>(threads_.size()) < count) threads_.emplace_back([this] { help(); });
        } catch (const std::system_error&) {  // as many as there are will do
        }
    }

    void help() {
        std::unique_lock<std::mutex> lock(mutex_);
        while (true) {
            wake_.wait(lock, [this] { return is_ending_ || wanted_ > 0; });
            if (is_ending_) return;
            --wanted_;
            ++busy_;
            const auto call = call_;
            const void* context = context_;
            lock.unlock();
            call(context);
            lock.lock();
            if (--busy_ == 0) done_.notify_one();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    void (*call_)(const void*) = nullptr;
    const void* context_ = nullptr;
    int wanted_ = 0, busy_ = 0;
    bool is_ending_ = false;
    std::vector<std::thread> threads_;
};

// The calling thread's helpers. A forked child has none of its parent's threads: it leaves the parent's object alone,
// whose locks may be held for ever there, and makes its own.
class OwnHelpers {
public:
    ~OwnHelpers() {
        if (helpers_ && process_ != this_process()) static_cast<void>(helpers_.release());
    }

    Helpers& get() {
        if (helpers_ && process_ != this_process()) static_cast<void>(helpers_.release());
        if (!helpers_) {
            helpers_ = std::make_unique<Helpers>();
            process_ = this_process();
        }
        return *helpers_;
    }

private:
    static int64_t this_process() {
#if defined(_WIN32)
        return 0;  // nothing forks
#else
        return getpid();
#endif
    }

    std::unique_ptr<Helpers> helpers_;
    int64_t process_ = 0;
};

// Call work(next) on up to `threads` threads, the caller's among them; each calls next() for its items until it gets -1.
template <class Work>
void in_parallel(int64_t items, int threads, const Work& work) {
    std::atomic<int64_t> taken{0};
    const auto next = [&taken, items] {
        const int64_t item = taken.fetch_add(1, std::memory_order_relaxed);
        return item < items ? item : int64_t{-1};
    };
    if (threads <= 1 || items <= 1) return work(next);
    std::atomic<bool> is_failed{false};
    std::exception_ptr failure;
    thread_local OwnHelpers helpers;
    helpers.get().run(threads - 1, [&] {
        try {
            work(next);
        } catch (...) {
            if (!is_failed.exchange(true)) failure = std::current_exception();
        }
    });
    if (failure) std::rethrow_exception(failure);
}

}  // namespace rarefy
