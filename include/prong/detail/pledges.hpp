#pragma once

#include <prong/detail/export.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace prong::detail {

class Writer;

/// Names a parcel, as long as it is pledged, in each process of the family: a buffer that moves
/// from one process to another one, or a reference to a buffer. All zero: an empty buffer.
struct ParcelId {
    std::uint64_t offset;
    std::uint64_t stamp;
    std::uint64_t ticket; ///< each pledge has another one
};

/// Which way an encoded parcel goes.
enum class ParcelRoute : std::uint32_t {
    task,   ///< to a task, as an argument
    result, ///< from a task, as its result
    mail,   ///< in a message or a queue's item
};

/// The parcels that were encoded into one message. They belong to its receiver as soon as that
/// decodes them. Until the message is on its way, they can be taken back.
///
/// Thread safety: one thread at a time.
class PRONG_API Pledges {
public:
    struct Pledge {
        ParcelId id;
        std::uint64_t holder; ///< the parcel's word before; 0: it was made for the message
        std::uint64_t word;   ///< after
        std::uint64_t home;   ///< the word of this name in the parcel's cell before
        std::size_t position; ///< of the encoded parcel in the message
    };

    /// `home` and `item`: what the parcels' cells say of the receiver (`sync::ParcelWords`).
    explicit Pledges(ParcelRoute route, std::uint64_t home = 0, std::uint64_t item = 0)
        : route_(route), home_(home), item_(item) {}
    Pledges(const Pledges&) = delete;
    Pledges& operator=(const Pledges&) = delete;
    /// Takes back what was not posted.
    ~Pledges() {
        if (!pledges_.empty()) handles_are_gone_ ? drop() : take_back();
    }

    [[nodiscard]] bool empty() const noexcept { return pledges_.empty(); }
    [[nodiscard]] std::span<const Pledge> list() const noexcept { return pledges_; }
    [[nodiscard]] ParcelRoute route() const noexcept { return route_; }
    [[nodiscard]] std::uint64_t home() const noexcept { return home_; }
    [[nodiscard]] std::uint64_t item() const noexcept { return item_; }
    void set_item(std::uint64_t item) noexcept { item_ = item; }

    /// Makes room, so that `add` does not throw.
    void prepare() { pledges_.reserve(pledges_.size() + 1); }
    void add(const Pledge& pledge) noexcept { pledges_.push_back(pledge); }

    /// The message is on its way: the parcels are the receiver's.
    void post() noexcept { pledges_.clear(); }
    /// There is no message: the handles own the parcels again that were encoded behind `position`.
    void take_back(std::size_t position = 0) noexcept;
    /// The handles of what was encoded have been destroyed: it cannot be taken back any more.
    void forget_handles() noexcept { handles_are_gone_ = true; }
    /// There is no message, and the handles are gone: frees the parcels that were encoded behind
    /// `position`.
    void drop(std::size_t position = 0) noexcept;

    /// Appends the list of the parcels, by which the receiver of a result that is never decoded
    /// frees them.
    void write_list(Writer& writer) const;

private:
    ParcelRoute route_;
    std::uint64_t home_;
    std::uint64_t item_;
    bool handles_are_gone_ = false;
    std::vector<Pledge> pledges_;
};

/// Calls `Pledges::write_list` for what the writer has pledged.
PRONG_API void write_pledges(Writer& writer);

/// Frees the parcels in the items of a queue that has ended. `item`: its stamp.
void drop_mail(std::uint64_t item) noexcept;

} // namespace prong::detail
