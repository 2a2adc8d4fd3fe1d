#pragma once

#include <prong/detail/task.hpp>

#include <utility>

/// What a pool does with a callable and its arguments.
template <class F, class... Args>
void submit(F&& f, Args&&... args) {
    prong::detail::BufferWriter writer;
    prong::detail::encode_task(writer, std::forward<F>(f), std::forward<Args>(args)...);
    prong::detail::task_type<F, Args...>();
}
