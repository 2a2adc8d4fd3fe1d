// expect: a SharedBuffer cannot be copied to another process: pass std::move(buffer)
#include <prong/shared_buffer.hpp>

#include "submit.hpp"

#include <utility>
#include <vector>

int count(std::vector<prong::SharedBuffer<int>> buffers);

void f(std::vector<prong::SharedBuffer<int>> buffers) {
    submit(count, std::move(buffers));
    submit(count, buffers);
}
