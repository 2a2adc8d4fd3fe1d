// What most examples include, compiled once. No guard: it is included nowhere.

#include <prong/prong.hpp>

#include <iostream>
