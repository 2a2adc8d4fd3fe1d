#include "isolated.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <system_error>

namespace bench {
namespace {

[[noreturn]] void run(const std::function<void(int output)>& body, int output) {
    alarm(120);
    try {
        body(output);
        _exit(0);
    } catch (const std::exception& error) {
        std::cerr << "  " << error.what() << std::endl;
    }
    _exit(1);
}

Figures read_figures(int fd) {
    Figures figures;
    std::FILE* const lines = fdopen(fd, "r");
    std::array<char, 256> line{};
    while (std::fgets(line.data(), line.size(), lines) != nullptr) {
        const std::string text(line.data());
        const std::size_t comma = text.find(',');
        if (comma != std::string::npos) {
            figures[text.substr(0, comma)] = std::stod(text.substr(comma + 1));
        }
    }
    std::fclose(lines);
    return figures;
}

} // namespace

Figures isolated(const std::function<void(int output)>& body) {
    int ends[2];
    if (pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    const pid_t pid = fork();
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid == 0) {
        close(ends[0]);
        run(body, ends[1]);
    }
    close(ends[1]);
    Figures figures = read_figures(ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    if (status != 0) throw std::runtime_error("failed, wait status " + std::to_string(status));
    return figures;
}

Figures isolated_figures(const std::function<Figures()>& body) {
    return isolated([&](int output) {
        for (const auto& [metric, value] : body()) {
            dprintf(output, "%s,%.9g\n", metric.c_str(), value);
        }
    });
}

} // namespace bench
