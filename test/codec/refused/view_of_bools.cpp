// expect: view() cannot show bool elements
#include <prong/prong.hpp>

void test(prong::Future<std::array<bool, 4>>& future) {
    for (const bool bit : future.view()) static_cast<void>(bit);
}
