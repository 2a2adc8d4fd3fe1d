#pragma once

#include <iosfwd>

namespace bench {

class Results;

void print_server_marks(std::ostream& out, const Results& results);

} // namespace bench
