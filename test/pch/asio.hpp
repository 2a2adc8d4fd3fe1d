// What nearly all tests with event loops include, compiled once. No guard: it is included nowhere.

#include "support/catch.hpp"
#include "support/eventually.hpp"

#include <prong/asio.hpp>
#include <prong/prong.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
