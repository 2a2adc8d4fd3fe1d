// expect: a SharedBuffer cannot be copied to another process: pass std::move(buffer)
#include <prong/queue.hpp>
#include <prong/shared_buffer.hpp>

#include <utility>

void f(const prong::Queue<prong::SharedBuffer<int>>& queue, prong::SharedBuffer<int> buffer) {
    queue.put(prong::SharedBuffer<int>(1));
    queue.put(std::move(buffer));
    queue.put(buffer);
}
