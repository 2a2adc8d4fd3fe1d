#include "mpi/environment.hpp"

#include "base/file.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

namespace prong::mpi {

std::optional<std::string> variable(const char* name) {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
}

std::string host_name() {
    std::array<char, 256> name{};
    gethostname(name.data(), name.size() - 1);
    return name.data();
}

std::optional<int> launched_rank() {
    // Open MPI; Hydra and Slurm's PMI-1 and PMI-2; PMIx, as of Slurm.
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}) {
        const auto value = variable(name);
        if (!value) continue;
        if (const auto rank = base::to_number(*value)) return static_cast<int>(*rank);
    }
    return std::nullopt;
}

std::vector<std::string> launcher_variables() {
    using namespace std::string_view_literals;
    constexpr std::array prefixes{"PMI"sv, "OMPI_"sv, "MPI"sv, "HYD"sv, "ORTE_"sv, "SLURM_"sv};
    std::vector<std::string> found;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        if (std::ranges::any_of(prefixes, [&](auto prefix) { return text.starts_with(prefix); }))
            found.emplace_back(text);
    }
    return found;
}

void set_variables(const std::vector<std::string>& variables) {
    for (const std::string& text : variables) {
        const std::size_t equals = text.find('=');
        if (equals == std::string::npos) continue;
        setenv(text.substr(0, equals).c_str(), text.c_str() + equals + 1, 1);
    }
}

void unset_variables(const std::vector<std::string>& variables) {
    for (const std::string& text : variables) unsetenv(text.substr(0, text.find('=')).c_str());
}

} // namespace prong::mpi
