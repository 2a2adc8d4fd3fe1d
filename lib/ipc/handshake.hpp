#pragma once

#include "ipc/frame.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace prong::ipc {

/// Which side of a connection this process is.
enum class Side : unsigned char { listener, client };

/// The handshake of CPython's `multiprocessing.connection`, by which both sides prove that they
/// have the same key, the client first. Neither receives nor sends by itself.
///
/// Each side in turn *delivers* a challenge that the other one *answers*:
///
///     #CHALLENGE#<message>  ──▶
///                           ◀──  <reply>, which only the key's owner can compute
///     #WELCOME# or #FAILURE# ──▶
///
/// A message with the name of a digest in front, `{sha256}` and 40 random bytes, is answered by
/// `{sha256}` and the HMAC of the whole message. CPython before 3.12 sends 20 random bytes, and
/// answers whatever it receives by HMAC-MD5, 16 bytes without a name. This side sends the former,
/// and takes and gives both replies.
///
/// The client answers before it delivers. So no process without the key can have a listener answer
/// a challenge, be it one that the listener itself or a client has sent.
class Handshake {
public:
    /// The key must outlive this object. With an empty one the handshake has ended at once.
    Handshake(Side side, std::string_view key);

    /// Returns what is to be sent now.
    [[nodiscard]] std::string take_output();

    /// Returns where to receive how many bytes, which belong to the handshake; empty at its end.
    [[nodiscard]] std::span<std::byte> room();

    /// Tells that the first bytes of `room()` have been received.
    void received(std::size_t count);

    /// Returns whether both sides have proved that they have the key.
    [[nodiscard]] bool finished() const { return stage_ == Stage::finished; }
    [[nodiscard]] bool failed() const { return stage_ == Stage::failed; }
    /// Returns why it failed.
    [[nodiscard]] const std::string& failure() const { return failure_; }

private:
    /// What is to be received next.
    enum class Stage : unsigned char {
        reply,     ///< to the challenge of this side
        challenge, ///< of the other side
        verdict,   ///< on the reply of this side
        finished,
        failed,
    };

    static constexpr std::size_t longest_message = 256; // as in CPython

    void deliver();
    void handle(std::string_view message);
    void judge(std::string_view reply);
    void answer(std::string_view message);
    void send(std::string_view message);
    void fail(std::string reason);

    Side side_;
    Stage stage_ = Stage::finished;
    std::string_view key_;
    std::string challenge_; ///< that this side has sent
    std::string output_;
    std::string failure_;
    std::array<std::byte, size_bytes + longest_message> frame_{};
    std::size_t have_ = 0; ///< received bytes of `frame_`
    std::size_t need_ = size_bytes;
};

} // namespace prong::ipc
