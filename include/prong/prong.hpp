#pragma once

/// \file
/// All of prong: process pools with futures, processes and pipes.

#include <prong/codec.hpp>
#include <prong/error.hpp>
#include <prong/exception.hpp>
#include <prong/future.hpp>
#include <prong/map.hpp>
#include <prong/pipe.hpp>
#include <prong/process.hpp>
#include <prong/process_pool_executor.hpp>
#include <prong/this_task.hpp>
#include <prong/zygote.hpp>
