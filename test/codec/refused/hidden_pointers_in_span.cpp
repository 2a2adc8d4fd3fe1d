// expect: the elements of a std::span<const T> parameter must be trivially copyable
#include "submit.hpp"

#include <span>
#include <vector>

class Handle {
public:
    [[nodiscard]] int number() const { return *pointer_; }

private:
    int* pointer_ = nullptr;
};

void release(std::span<const Handle>) {}

void test() {
    submit(release, std::vector<Handle>(3));
}
