// expect: the compiler cannot see whether this class or union holds pointers
// expect: FunctionObjectOf<std::unordered_set<int
#include "submit.hpp"

#include <unordered_set>

class Hash {
public:
    Hash() = default;
    std::size_t operator()(int number) const { return seed_ ^ static_cast<std::size_t>(number); }

private:
    std::size_t seed_ = 7;
};

std::size_t count(const std::unordered_set<int, Hash>& numbers) {
    return numbers.size();
}

void test() {
    submit(count, std::unordered_set<int, Hash>());
}
