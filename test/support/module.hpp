#pragma once

#include <dlfcn.h>

#include <filesystem>
#include <stdexcept>
#include <string>

namespace prong::test {

/// A shared object that is loaded while this lives.
class Module {
public:
    explicit Module(const std::filesystem::path& path) : handle_(dlopen(path.c_str(), RTLD_NOW)) {
        if (handle_ == nullptr) throw std::runtime_error(dlerror());
    }
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;
    ~Module() { dlclose(handle_); }

    template <typename Function>
    Function* find(const std::string& name) const {
        void* const symbol = dlsym(handle_, name.c_str());
        if (symbol == nullptr) throw std::runtime_error("no symbol " + name);
        return reinterpret_cast<Function*>(symbol);
    }

private:
    void* handle_;
};

/// Where the build puts the tests' modules.
inline std::filesystem::path module_beside_program(const std::string& name) {
    return std::filesystem::canonical("/proc/self/exe").parent_path() / name;
}

} // namespace prong::test
