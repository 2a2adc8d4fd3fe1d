// A libFuzzer program of all targets: PRONG_FUZZ_TARGET names the one to run. test/fuzz/run builds
// and runs it.

#include "fuzz/targets.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

const prong::test::FuzzTarget* chosen() {
    const char* const name = std::getenv("PRONG_FUZZ_TARGET");
    if (name == nullptr) return nullptr;
    if (name == prong::test::trusting_target().name) return &prong::test::trusting_target();
    for (const auto& target : prong::test::fuzz_targets()) {
        if (target.name == name) return &target;
    }
    return nullptr;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const prong::test::FuzzTarget* const target = chosen();
    if (target == nullptr) {
        std::fputs("PRONG_FUZZ_TARGET names no target\n", stderr);
        std::exit(2);
    }
    target->run({reinterpret_cast<const std::byte*>(data), size});
    return 0;
}
