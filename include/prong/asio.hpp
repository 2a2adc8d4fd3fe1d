#pragma once

/// \file
/// Tasks, processes, connections and queues in the event loops of Boost.Asio, and servers on a
/// bounded number of worker processes. `<prong/prong.hpp>` does not include it.

#include <prong/asio/config.hpp>
#include <prong/asio/connection.hpp>
#include <prong/asio/future.hpp>
#include <prong/asio/listener.hpp>
#include <prong/asio/map.hpp>
#include <prong/asio/process.hpp>
#include <prong/asio/queue.hpp>
#include <prong/asio/server.hpp>
#include <prong/asio/shutdown.hpp>
#include <prong/asio/submit.hpp>
