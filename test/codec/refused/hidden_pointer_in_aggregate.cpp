// expect: the compiler cannot see whether this class or union holds pointers
// expect: Handle
// expect: "Job::handle"
#include "submit.hpp"

class Handle {
public:
    [[nodiscard]] int number() const { return *pointer_; }

private:
    int* pointer_ = nullptr;
};
struct Job {
    int number;
    Handle handle;
};

void run(const Job&) {}

void test() {
    submit(run, Job{});
}
