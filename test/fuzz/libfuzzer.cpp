// A libFuzzer program of all targets: PRONG_FUZZ_TARGET names the one to run; without it, the names
// of all are printed. test/fuzz/run builds and runs it.

#include "fuzz/targets.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

using prong::test::FuzzTarget;

namespace {

const FuzzTarget& find_target() {
    const char* const name = std::getenv("PRONG_FUZZ_TARGET");
    if (name != nullptr && prong::test::trusting_target().name == name)
        return prong::test::trusting_target();
    for (const FuzzTarget& target : prong::test::fuzz_targets()) {
        if (name == nullptr) std::puts(target.name.c_str());
        if (name != nullptr && target.name == name) return target;
    }
    if (name != nullptr) std::fprintf(stderr, "there is no target %s\n", name);
    std::exit(name == nullptr ? 0 : 2);
}

const FuzzTarget& chosen_target() {
    static const FuzzTarget& target = find_target();
    return target;
}

void write_seeds(const std::filesystem::path& folder) {
    int number = 0;
    for (const prong::test::Bytes& seed : chosen_target().seeds()) {
        std::ofstream(folder / ("seed-" + std::to_string(number++)), std::ios::binary)
            .write(reinterpret_cast<const char*>(seed.data()),
                   static_cast<std::streamsize>(seed.size()));
    }
}

} // namespace

/// What the encoders write goes to the folder PRONG_FUZZ_SEEDS, before the fuzzer reads its
/// folders.
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
    static_cast<void>(chosen_target());
    if (const char* const folder = std::getenv("PRONG_FUZZ_SEEDS")) write_seeds(folder);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    chosen_target().run({reinterpret_cast<const std::byte*>(data), size});
    return 0;
}
