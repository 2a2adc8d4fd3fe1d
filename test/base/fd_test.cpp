#include "base/errno.hpp"
#include "base/fd.hpp"

#include "support/catch.hpp"

#include <fcntl.h>

#include <utility>

using namespace prong::base;

namespace {

int open_something() {
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

bool is_open(int fd) {
    return fcntl(fd, F_GETFD) != -1;
}

} // namespace

TEST_CASE("A descriptor is closed with its owner") {
    const int fd = open_something();
    {
        const UniqueFd owner(fd);
        CHECK(static_cast<bool>(owner));
        CHECK(owner.get() == fd);
    }
    CHECK_FALSE(is_open(fd));
}

TEST_CASE("An owner of nothing is false and closes nothing") {
    UniqueFd owner;
    CHECK_FALSE(static_cast<bool>(owner));
    CHECK(owner.get() == -1);
    owner.reset();
}

TEST_CASE("A moved descriptor has one owner") {
    const int fd = open_something();
    UniqueFd first(fd);
    UniqueFd second(std::move(first));
    CHECK_FALSE(static_cast<bool>(first)); // NOLINT(bugprone-use-after-move): what it promises
    CHECK(second.get() == fd);
    second.reset();
    second.reset();
    CHECK_FALSE(is_open(fd));
}

TEST_CASE("Assigning closes what was held before, once the source is destroyed") {
    const int old_fd = open_something();
    const int new_fd = open_something();
    UniqueFd owner(old_fd);
    owner = UniqueFd(new_fd);
    CHECK(owner.get() == new_fd);
    CHECK_FALSE(is_open(old_fd));
    CHECK(is_open(new_fd));
}

TEST_CASE("A failed call becomes a system_error with the call's name") {
    try {
        throw_errno("open", ENOENT);
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::no_such_file_or_directory);
        CHECK(std::string(error.what()).find("open") == 0);
    }
}

TEST_CASE("An interrupted call is repeated, another failure is not") {
    int calls = 0;
    const int result = retry_interrupted([&] {
        errno = EINTR;
        return ++calls < 3 ? -1 : 5;
    });
    CHECK(result == 5);
    CHECK(calls == 3);
    calls = 0;
    CHECK(retry_interrupted([&] {
              errno = EBADF;
              ++calls;
              return -1;
          }) == -1);
    CHECK(calls == 1);
}
