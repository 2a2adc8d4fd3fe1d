#pragma once

/// \file
/// All of prong: process pools with futures, processes and connections, locks and queues.

#include <prong/as_completed.hpp>
#include <prong/async_result.hpp>
#include <prong/barrier.hpp>
#include <prong/callbacks.hpp>
#include <prong/codec.hpp>
#include <prong/condition.hpp>
#include <prong/connection.hpp>
#include <prong/error.hpp>
#include <prong/event.hpp>
#include <prong/exception.hpp>
#include <prong/future.hpp>
#include <prong/fwd.hpp>
#include <prong/inherit.hpp>
#include <prong/listener.hpp>
#include <prong/lock.hpp>
#include <prong/map.hpp>
#include <prong/pipe.hpp>
#include <prong/pool.hpp>
#include <prong/pool_options.hpp>
#include <prong/process.hpp>
#include <prong/process_pool_executor.hpp>
#include <prong/queue.hpp>
#include <prong/semaphore.hpp>
#include <prong/stats.hpp>
#include <prong/task_options.hpp>
#include <prong/this_task.hpp>
#include <prong/timeout.hpp>
#include <prong/version.hpp>
#include <prong/wait.hpp>
#include <prong/with_captures.hpp>
#include <prong/worker_hook.hpp>
#include <prong/zygote.hpp>
