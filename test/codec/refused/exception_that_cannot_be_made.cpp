// expect: prong: this type cannot cross to another process
#include "submit.hpp"

#include <prong/exception.hpp>

#include <stdexcept>

class Mismatch : public std::runtime_error {
public:
    Mismatch(int expected, int found)
        : std::runtime_error("mismatch"), expected_(expected), found_(found) {}

private:
    int expected_;
    int found_;
};

const bool registered = prong::register_exception<Mismatch>();
