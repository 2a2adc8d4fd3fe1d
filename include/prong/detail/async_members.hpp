#pragma once

namespace prong::detail {

/// An operation of an event loop, seen by the object that it uses.
class Cancellable {
public:
    Cancellable(const Cancellable&) = delete;
    Cancellable& operator=(const Cancellable&) = delete;

    /// The object has been closed. Does not block, and completes nothing before it returns.
    virtual void cancel() noexcept = 0;

protected:
    Cancellable() = default;
    ~Cancellable() = default;
};

/// What the `async_…` members of `Class` do, defined in `<prong/asio.hpp>`, so that the class needs
/// no Asio. An error that says that this type is incomplete means: include that header.
template <typename Class, typename... Args>
struct DefinedInProngAsioHpp;

} // namespace prong::detail
