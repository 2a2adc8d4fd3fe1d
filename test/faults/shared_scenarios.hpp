#pragma once

#include "executor/helpers.hpp"
#include "faults/judge.hpp"

namespace prong::test {

// The scenarios of objects that processes share: all kinds of them, and `SharedMemory`.
void use_objects(Judge& judge, const Shared<Gate>&);
void use_shared_memory(Judge& judge, const Shared<Gate>&);

} // namespace prong::test
