#include "ipc/handshake.hpp"

#include "ipc/hmac.hpp"
#include "os/random.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

namespace prong::ipc {
namespace {

constexpr std::string_view challenge_word = "#CHALLENGE#";
constexpr std::string_view welcome_word = "#WELCOME#";
constexpr std::string_view failure_word = "#FAILURE#";

constexpr std::string_view preferred_prefix = "{sha256}";
constexpr std::size_t random_size = 40;

// Of CPython before 3.12.
constexpr std::string_view old_digest = "md5";
constexpr std::size_t old_challenge_size = 20;
constexpr std::size_t old_reply_size = 16;

/// Returns the name in "{name}…"; an empty one if there is none.
std::string_view digest_in(std::string_view text) {
    const auto end = text.find('}');
    if (!text.starts_with('{') || end == std::string_view::npos) return {};
    return text.substr(1, end - 1);
}

std::string in_braces(std::string_view digest) {
    return "{" + std::string(digest) + "}";
}

/// Returns the reply to a challenge; nothing if its digest is unknown.
std::optional<std::string> reply_to(std::string_view challenge, std::string_view key) {
    if (challenge.size() == old_challenge_size) return hmac(old_digest, key, challenge);
    const std::string_view digest = digest_in(challenge);
    const auto code = hmac(digest, key, challenge);
    if (!code) return std::nullopt;
    return in_braces(digest) + *code;
}

bool is_right(std::string_view reply, std::string_view challenge, std::string_view key) {
    std::string_view digest = old_digest;
    if (reply.size() != old_reply_size) {
        digest = digest_in(reply);
        reply.remove_prefix(std::min(reply.size(), digest.size() + 2));
    }
    const auto code = hmac(digest, key, challenge);
    return code && equal_codes(*code, reply);
}

} // namespace

Handshake::Handshake(Side side, std::string_view key) : side_(side), key_(key) {
    if (key.empty()) return;
    if (side == Side::listener) {
        deliver();
    } else {
        stage_ = Stage::challenge;
    }
}

std::string Handshake::take_output() {
    return std::exchange(output_, {});
}

std::span<std::byte> Handshake::room() {
    if (finished() || failed()) return {};
    return std::span(frame_).first(need_).subspan(have_);
}

void Handshake::received(std::size_t count) {
    have_ += count;
    if (have_ < need_) return;
    if (need_ == size_bytes) {
        const std::uint64_t size = read_number(std::span(frame_).first(size_bytes));
        if (size > longest_message) {
            fail("the other side does not speak the handshake of Python's multiprocessing");
            return;
        }
        need_ += size;
        if (size != 0) return;
    }
    const std::string_view text(reinterpret_cast<const char*>(frame_.data()), need_);
    have_ = 0;
    need_ = size_bytes;
    handle(text.substr(size_bytes));
}

void Handshake::handle(std::string_view message) {
    switch (stage_) {
    case Stage::reply:
        judge(message);
        break;
    case Stage::challenge:
        answer(message);
        break;
    case Stage::verdict:
        if (message != welcome_word) {
            fail("the other side has refused this side's authkey");
        } else if (side_ == Side::client) {
            deliver();
        } else {
            stage_ = Stage::finished;
        }
        break;
    case Stage::finished:
    case Stage::failed:
        break; // nothing is received any more
    }
}

void Handshake::deliver() {
    challenge_ = std::string(preferred_prefix) + os::random_bytes(random_size);
    send(std::string(challenge_word) + challenge_);
    stage_ = Stage::reply;
}

void Handshake::judge(std::string_view reply) {
    if (!is_right(reply, challenge_, key_)) {
        send(failure_word);
        fail("the other side does not have the same authkey");
        return;
    }
    send(welcome_word);
    stage_ = side_ == Side::listener ? Stage::challenge : Stage::finished;
}

void Handshake::answer(std::string_view message) {
    if (!message.starts_with(challenge_word)) {
        fail("the other side has sent no challenge: does it have an authkey?");
        return;
    }
    message.remove_prefix(challenge_word.size());
    if (message.size() < old_challenge_size) {
        fail("the other side's challenge is too short: " + std::to_string(message.size()) +
             " bytes, at least " + std::to_string(old_challenge_size) + " are safe");
        return;
    }
    const auto reply = reply_to(message, key_);
    if (!reply) {
        fail("the other side's challenge names no digest that this side knows");
        return;
    }
    send(*reply);
    stage_ = Stage::verdict;
}

void Handshake::send(std::string_view message) {
    const FrameHeader header(message.size());
    output_.append(reinterpret_cast<const char*>(header.bytes().data()), header.bytes().size());
    output_ += message;
}

void Handshake::fail(std::string reason) {
    stage_ = Stage::failed;
    failure_ = std::move(reason);
}

} // namespace prong::ipc
