#include "support/environment.hpp"

#include "support/sanitizer.hpp"

#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <system_error>

namespace prong::test {
namespace {

std::uint64_t choose_seed() {
    const char* const given = std::getenv("PRONG_SEED");
    std::random_device device;
    const std::uint64_t seed = given != nullptr
                                   ? std::strtoull(given, nullptr, 0)
                                   : (std::uint64_t{device()} << 32 | std::uint64_t{device()});
    std::cerr << "random test: repeat with PRONG_SEED=" << seed << std::endl;
    return seed;
}

} // namespace

std::uint64_t test_seed() {
    static const std::uint64_t seed = choose_seed();
    return seed;
}

bool full_run() {
    return std::getenv("PRONG_TEST_FULL") != nullptr;
}

int how_often(int short_run, int in_full_run) {
    const int times = full_run() ? in_full_run : short_run;
    return address_sanitizer ? (times + 9) / 10 : times;
}

TempDir::TempDir() {
    std::string name = std::filesystem::temp_directory_path() / "prong-test-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) {
        throw std::system_error(errno, std::generic_category(), "mkdtemp");
    }
    path_ = name;
}

TempDir::~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

} // namespace prong::test
