#pragma once

/// \file
/// Which Asio `<prong/asio.hpp>` uses: Boost's (1.81 or later) or, if `PRONG_STANDALONE_ASIO` is
/// defined, the standalone one (1.22 or later). The same in all files of a program.

#ifdef PRONG_STANDALONE_ASIO
#include <asio.hpp>
#else
#include <boost/asio.hpp>
#endif

namespace prong::detail {

#ifdef PRONG_STANDALONE_ASIO
namespace net = ::asio;
using ErrorCode = std::error_code;
using SystemError = std::system_error;
#else
namespace net = ::boost::asio;
using ErrorCode = boost::system::error_code;
using SystemError = boost::system::system_error;
#endif

} // namespace prong::detail
