// What nearly all tests include, compiled once. No guard: it is included nowhere.

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/processes.hpp"

#include <prong/prong.hpp>
