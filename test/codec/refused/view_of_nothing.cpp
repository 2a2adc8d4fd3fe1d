// expect: view() needs a result whose elements lie in one piece
#include <prong/prong.hpp>

void test(prong::Future<void>& future) {
    static_cast<void>(future.view());
}
