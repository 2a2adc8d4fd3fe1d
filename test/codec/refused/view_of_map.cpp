// expect: view() needs a result whose elements lie in one piece
#include <prong/prong.hpp>

void test(prong::Future<std::map<int, int>>& future) {
    static_cast<void>(future.view());
}
