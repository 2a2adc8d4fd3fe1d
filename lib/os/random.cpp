#include "os/random.hpp"

#include "base/errno.hpp"

#include <sys/random.h>

namespace prong::os {

std::string random_bytes(std::size_t count) {
    std::string bytes(count, '\0');
    for (std::size_t done = 0; done < count;) {
        const ssize_t added = base::retry_interrupted(
            [&] { return getrandom(bytes.data() + done, count - done, 0); });
        if (added < 0) base::throw_errno("getrandom");
        done += static_cast<std::size_t>(added);
    }
    return bytes;
}

} // namespace prong::os
