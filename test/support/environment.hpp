#pragma once

#include <cstdint>
#include <filesystem>

namespace prong::test {

/// The seed for everything random in this run, printed so that PRONG_SEED can repeat it.
std::uint64_t test_seed();

/// True under `test/run --full`, when a test may take minutes.
bool full_run();

/// How often to try something: in a full run, or else; a tenth of that with AddressSanitizer, where
/// a fork takes very long.
int how_often(int short_run, int in_full_run);

/// A fresh directory, removed with what is in it.
class TempDir {
public:
    TempDir();
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    ~TempDir();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

} // namespace prong::test
