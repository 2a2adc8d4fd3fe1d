#pragma once

#include <prong/detail/served_object.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <typeinfo>

namespace prong::manager {

/// The names that programs have given to objects.
using Directory = std::map<std::string, std::uint64_t>;

/// The objects in a manager's process, and what clients may ask of them.
///
/// Thread safety: any.
class Objects {
public:
    /// Creates the `Directory`, and no other object. Throws `std::system_error` if the system has
    /// no random numbers.
    Objects();

    /// Executes a request. Appends whether it succeeded, then its result or what it threw.
    void reply_to(detail::Reader request, detail::Writer& reply);

private:
    struct Served {
        const std::type_info* type;
        std::shared_ptr<void> object;
        std::mutex mutex; ///< for one call at a time
    };

    void execute(detail::Reader& request, detail::Writer& result);
    std::uint64_t add(const std::type_info& type, std::shared_ptr<void> object);
    Served& find(std::uint64_t id, const std::type_info& type) const;

    mutable std::shared_mutex mutex_; ///< guards the following
    std::map<std::uint64_t, std::unique_ptr<Served>> served_;
    std::uint64_t next_id_ = detail::RemoteObject::directory;
};

/// Makes a reply, or the beginning of one, tell of the exception that is handled.
void replace_by_failure(detail::Writer& reply);

} // namespace prong::manager
