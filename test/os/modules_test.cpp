#include "os/modules.hpp"

#include <prong/detail/code_place.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/module.hpp"

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

using namespace prong;
using namespace prong::test;
using os::LoadedModules;

namespace {

int in_program(int n) {
    return n;
}

template <typename Function>
const void* address_of(Function* function) {
    return reinterpret_cast<const void*>(function);
}

using IntFunction = int(int);

} // namespace

TEST_CASE("the program's and its libraries' functions and constants are known") {
    static constexpr int constant = 1;
    const auto modules = LoadedModules::now();
    CHECK(modules.had(address_of(in_program)));
    CHECK(modules.had(&constant));
    CHECK(modules.had(address_of(std::abort)));
    CHECK(os::module_path(address_of(std::abort)).find("libc") != std::string::npos);
}

TEST_CASE("a module that is loaded later is not known, until one looks again") {
    const auto before = LoadedModules::now();
    const Module module(module_beside_program("times_three.so"));
    const void* const function = address_of(module.find<IntFunction>("times"));
    CHECK_FALSE(before.had(function));
    CHECK(LoadedModules::now().had(function));
    CHECK(os::module_path(function) == module_beside_program("times_three.so").string());
}

TEST_CASE(
    "a module that has been unloaded and loaded again is the same, another in its place is not") {
    const TempDir directory;
    const auto path = directory.path() / "module.so";
    std::filesystem::copy_file(module_beside_program("times_three.so"), path);
    std::optional<Module> module(path);
    const auto modules = LoadedModules::now();
    const void* const function = address_of(module->find<IntFunction>("times"));

    module.reset();
    CHECK(modules.had(address_of(std::abort)));
    module.emplace(path);
    CHECK(address_of(module->find<IntFunction>("times")) == function);
    CHECK(modules.had(function));

    module.reset();
    std::filesystem::remove(path); // not written over: that would change what is mapped
    std::filesystem::copy_file(module_beside_program("times_seven.so"), path);
    module.emplace(path);
    CHECK(address_of(module->find<IntFunction>("times")) == function);
    CHECK_FALSE(modules.had(function));
}

TEST_CASE("a place leads to the same function or constant") {
    using detail::at_place;
    using detail::CodePlace;
    using detail::place_of;
    static constexpr int constant = 1;
    for (const void* address : {address_of(in_program), static_cast<const void*>(&constant)}) {
        const CodePlace place = place_of(address);
        CHECK(place.module == CodePlace::program);
        CHECK(at_place(place, 1) == address);
    }
    CodePlace abort = place_of(address_of(std::abort));
    CHECK(at_place(abort, 1) == address_of(std::abort));
    CHECK(at_place({.module = abort.module, .offset = ~std::uint64_t{0} / 2}, 1) == nullptr);
    CHECK(at_place({.module = CodePlace::program, .offset = ~std::uint64_t{0} / 2}, 1) == nullptr);
    CHECK(at_place(abort, std::size_t{1} << 40) == nullptr);
    ++abort.module;
    CHECK(at_place(abort, 1) == nullptr);

    const Module three(module_beside_program("times_three.so"));
    const CodePlace place = place_of(address_of(three.find<IntFunction>("times")));
    CHECK(at_place(place, 1) == address_of(three.find<IntFunction>("times")));
    const Module seven(module_beside_program("times_seven.so"));
    CHECK(place_of(address_of(seven.find<IntFunction>("times"))).module != place.module);
}

TEST_CASE("the program has a build id") {
    CHECK(os::program_build_id().size() >= 8);
    CHECK(os::program_build_id() == os::program_build_id());
}

TEST_CASE("of code that is in no module nothing is known, so it counts as known") {
    const auto modules = LoadedModules::now();
    void* const memory = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(modules.had(memory));
    munmap(memory, 4096);
    CHECK(os::module_path(nullptr) == "?");
}
