#pragma once

#include <sys/mman.h>

#include <new>
#include <utility>

namespace prong::test {

/// An object in memory that this process shares with all that are forked after it was made: tasks
/// of later pools see it at the same address.
template <typename T>
class Shared {
public:
    template <typename... Args>
    explicit Shared(Args&&... args) {
        void* const memory =
            mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        object_ = new (memory) T(std::forward<Args>(args)...);
    }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;
    ~Shared() { munmap(object_, sizeof(T)); }

    T* get() const { return object_; }
    T& operator*() const { return *object_; }
    T* operator->() const { return object_; }

private:
    T* object_;
};

} // namespace prong::test
