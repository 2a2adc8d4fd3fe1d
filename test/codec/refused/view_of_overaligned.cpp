// expect: view() needs elements that are aligned to at most 16 bytes
#include <prong/prong.hpp>

struct alignas(32) Lane {
    float values[8];
};

void test(prong::Future<std::vector<Lane>>& future) {
    const std::span<const Lane> lanes = future.view();
    static_cast<void>(lanes);
}
