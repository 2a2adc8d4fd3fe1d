#include "os/capture.hpp"

#include "base/errno.hpp"

#include <ext/stdio_sync_filebuf.h>
#include <fcntl.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>
#include <new>
#include <utility>

namespace prong::os {
namespace {

constexpr std::size_t buffer_bytes = 64 << 10;
std::array<char, buffer_bytes> output_buffer;
std::array<char, buffer_bytes> error_buffer;

constexpr off_t kept_bytes = 64 << 10;
constexpr off_t much_bytes = 16 << 20;

/// Descriptors that the supervisor needs to read its workers' files in /proc.
constexpr rlim_t spare_descriptors = 4;

/// Returns whether the C++ stream has no buffer and uses the C stream's.
bool is_synced(const std::ostream& stream) {
    return dynamic_cast<__gnu_cxx::stdio_sync_filebuf<char>*>(stream.rdbuf()) != nullptr;
}

bool unsynced_output = false;

void write_pending(std::FILE* stream) noexcept {
    const std::size_t size = __fpending(stream);
    if (size == 0) return;
    [[maybe_unused]] const ssize_t written = write(fileno(stream), stream->_IO_write_base, size);
    stream->_IO_write_ptr = stream->_IO_write_base; // must not be written a second time
}

off_t size_of(int file) {
    struct stat status {};
    return fstat(file, &status) == 0 ? status.st_size : 0;
}

/// Saves a copy of a standard descriptor; returns an invalid one if it is closed.
GuardedFd copy_of(int descriptor) noexcept {
    try {
        const int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        return GuardedFd(lift(base::UniqueFd(copy)));
    } catch (...) { // no descriptor is left
        return {};
    }
}

bool is_open(int descriptor) noexcept {
    return fcntl(descriptor, F_GETFD) >= 0;
}

void restore(int descriptor, const GuardedFd& copy) noexcept {
    base::UniqueFd null;
    if (copy.get() < 0) null = base::UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
    dup2(null ? null.get() : copy.get(), descriptor);
}

} // namespace

void write_whole_lines() noexcept {
    setvbuf(stdout, output_buffer.data(), _IOLBF, output_buffer.size());
    setvbuf(stderr, error_buffer.data(), _IOLBF, error_buffer.size());
    if (is_synced(std::cerr)) std::cerr.unsetf(std::ios::unitbuf); // after each piece of a line
    unsynced_output = !is_synced(std::cout);
}

void flush_task_output() noexcept {
    if (unsynced_output) std::cout.flush();
    if (__fpending(stdout) != 0) fflush(stdout);
    if (__fpending(stderr) != 0) fflush(stderr);
}

void flush_lines_in_crash() noexcept {
    write_pending(stdout);
    write_pending(stderr);
}

base::UniqueFd make_capture() noexcept {
    rlimit limit{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    getrlimit(RLIMIT_NOFILE, &limit);
    const auto is_last = [&limit](const base::UniqueFd& fd) {
        return static_cast<rlim_t>(fd.get()) + spare_descriptors >= limit.rlim_cur;
    };
    try {
        base::UniqueFd file(memfd_create("prong-output", MFD_CLOEXEC));
        if (!file || is_last(file)) return {};
        base::UniqueFd lifted(fcntl(file.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
        lifted = lift(std::move(lifted));
        if (!is_last(lifted)) return lifted;
        if (file.get() <= STDERR_FILENO) return {};
        return file;
    } catch (...) { // no descriptor is left
        return {};
    }
}

void clear_capture(int capture) noexcept {
    [[maybe_unused]] const int result = size_of(capture) == 0 ? 0 : ftruncate(capture, 0);
}

OutputCapture::OutputCapture(const GuardedFd& capture) noexcept {
    const int file = capture.get();
    if (file < 0 || ftruncate(file, 0) != 0) return;
    flush_task_output();
    output_ = copy_of(STDOUT_FILENO);
    error_ = copy_of(STDERR_FILENO);
    const bool has_no_way_back =
        (is_open(STDOUT_FILENO) && !output_) || (is_open(STDERR_FILENO) && !error_);
    if (has_no_way_back) return;
    fcntl(file, F_SETFL, O_APPEND); // each time, for an earlier task may have changed it
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    captures_ = true;
}

OutputCapture::~OutputCapture() {
    if (!captures_) return;
    flush_task_output();
    restore(STDOUT_FILENO, output_);
    restore(STDERR_FILENO, error_);
}

std::string captured_output(int capture) {
    const off_t size = size_of(capture);
    std::string text;
    try {
        text.resize(static_cast<std::size_t>(std::min(size, kept_bytes)));
    } catch (const std::bad_alloc&) { // how the task has ended counts more
        return {};
    }
    const ssize_t got = base::retry_interrupted([&] {
        return pread(capture, text.data(), text.size(), size - static_cast<off_t>(text.size()));
    });
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return text;
}

void trim_capture(int capture) noexcept {
    const off_t size = size_of(capture);
    if (size > much_bytes) {
        fallocate(capture, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size - kept_bytes);
    }
}

} // namespace prong::os
