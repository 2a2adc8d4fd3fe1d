#include "isolated.hpp"

#include <unistd.h>

#include <stdexcept>

namespace bench {
namespace {

/// Prefers the distribution's interpreter to the first one in PATH, as developers may have others.
const char* interpreter() {
    return access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : "python3";
}

} // namespace

Figures run_python(const std::string& script, std::vector<std::string> arguments) {
    if (script.empty()) return {};
    arguments.insert(arguments.begin(), {"python3", script});
    std::vector<char*> words;
    for (std::string& argument : arguments) words.push_back(argument.data());
    words.push_back(nullptr);
    return isolated([&](int output) {
        dup2(output, STDOUT_FILENO);
        execvp(interpreter(), words.data());
        throw std::runtime_error("cannot start python3");
    });
}

} // namespace bench
