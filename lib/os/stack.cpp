#include "os/stack.hpp"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace prong::os {
namespace {

constexpr std::size_t usual_bytes = 8 << 20;
constexpr std::size_t most_bytes = std::size_t{1} << 30;

std::size_t wanted_bytes() {
    rlimit limit{};
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return usual_bytes;
    return std::min<std::size_t>(limit.rlim_cur, most_bytes);
}

/// Returns what is left of this thread's stack; 0 if the caller runs on another one, such as a
/// coroutine's. Returns nothing if the system does not say (a sandbox).
std::optional<std::size_t> bytes_left() {
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return std::nullopt;
    void* begin = nullptr;
    std::size_t size = 0;
    pthread_attr_getstack(&attributes, &begin, &size);
    pthread_attr_destroy(&attributes);
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    const auto used = here - reinterpret_cast<std::uintptr_t>(begin);
    return used <= size ? used : 0;
}

struct Call {
    const std::function<int()>& body;
    int result;
};

} // namespace

int on_ample_stack(const std::function<int()>& body) {
    const std::size_t wanted = wanted_bytes();
    const auto left = bytes_left();
    if (!left || *left >= wanted - wanted / 8) return body(); // an eighth may be in use
    Call call{.body = body, .result = 0};
    const auto run = [](void* argument) -> void* {
        auto& called = *static_cast<Call*>(argument);
        called.result = called.body();
        return nullptr;
    };
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_t thread{};
    bool is_started = false;
    // Where address space is short, a smaller stack is better than none.
    for (std::size_t size = wanted; size > *left && !is_started; size /= 2) {
        is_started = pthread_attr_setstacksize(&attributes, size) == 0 &&
                     pthread_create(&thread, &attributes, run, &call) == 0;
    }
    pthread_attr_destroy(&attributes);
    if (!is_started) return body();
    pthread_join(thread, nullptr);
    return call.result;
}

} // namespace prong::os
