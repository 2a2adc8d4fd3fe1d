// expect: what a serialize function or a std::shared_ptr fills cannot have const members
// expect: Job
#include "submit.hpp"

#include <memory>
#include <string>

struct Job {
    const std::string name;
};

void run(const std::shared_ptr<Job>&) {}

void test() {
    submit(run, std::make_shared<Job>());
}
