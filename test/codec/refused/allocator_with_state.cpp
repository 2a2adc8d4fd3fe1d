// expect: an allocator with state cannot cross to another process
// expect: Arena
#include "submit.hpp"

#include <memory>
#include <vector>

template <class T>
struct Arena {
    using value_type = T;
    explicit Arena(std::byte* memory) : begin(memory) {}
    template <class U>
    Arena(const Arena<U>& other) : begin(other.begin) {}
    T* allocate(std::size_t count) { return std::allocator<T>().allocate(count); }
    void deallocate(T* place, std::size_t count) { std::allocator<T>().deallocate(place, count); }
    bool operator==(const Arena&) const = default;
    std::byte* begin;
};

std::size_t count(const std::vector<int, Arena<int>>& numbers) {
    return numbers.size();
}

void test(std::byte* memory) {
    submit(count, std::vector<int, Arena<int>>(Arena<int>(memory)));
}
