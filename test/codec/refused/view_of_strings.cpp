// expect: view() needs a result whose elements lie in one piece
#include <prong/prong.hpp>

void test(prong::Future<std::vector<std::string>>& future) {
    const auto view = future.view();
    static_cast<void>(view.size());
}
