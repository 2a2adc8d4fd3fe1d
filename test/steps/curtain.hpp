#pragma once

namespace prong::test {

// Between these, what a process does is stepped through.
[[gnu::noinline]] inline void curtain_up() {
    asm volatile("# up" ::: "memory");
}
[[gnu::noinline]] inline void curtain_down() {
    asm volatile("# down" ::: "memory");
}

} // namespace prong::test
