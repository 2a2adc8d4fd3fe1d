#include "ipc/hmac.hpp"

#include <prong/error.hpp>

#ifdef PRONG_NETTLE
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <nettle/nettle-meta.h>
#include <nettle/sha3.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#endif

namespace prong::ipc {

#ifdef PRONG_NETTLE

namespace {

constexpr std::array digests{&nettle_md5, &nettle_sha256, &nettle_sha384, &nettle_sha3_256,
                             &nettle_sha3_384};

/// Room for the state of each of these digests.
struct alignas(std::max_align_t) Context {
    std::array<std::byte, std::max(sizeof(sha3_256_ctx), sizeof(sha512_ctx))> bytes;
};

const std::uint8_t* data_of(std::string_view text) {
    return reinterpret_cast<const std::uint8_t*>(text.data());
}

} // namespace

void require_hmac() {}

std::optional<std::string> hmac(std::string_view digest, std::string_view key,
                                std::string_view message) {
    const auto found = std::ranges::find(digests, digest, &nettle_hash::name);
    if (found == digests.end()) return std::nullopt;
    Context outer;
    Context inner;
    Context state;
    hmac_set_key(&outer, &inner, &state, *found, key.size(), data_of(key));
    hmac_update(&state, *found, message.size(), data_of(message));
    std::string code((*found)->digest_size, '\0');
    hmac_digest(&outer, &inner, &state, *found, code.size(),
                reinterpret_cast<std::uint8_t*>(code.data()));
    return code;
}

bool equal_codes(std::string_view a, std::string_view b) {
    return a.size() == b.size() && memeql_sec(a.data(), b.data(), a.size()) != 0;
}

#else

void require_hmac() {
    throw Error("an authkey needs the library nettle, without which prong was built: install it "
                "(Debian: nettle-dev) and build prong again with the option -Dnettle=enabled");
}

std::optional<std::string> hmac(std::string_view, std::string_view, std::string_view) {
    require_hmac();
    return std::nullopt;
}

bool equal_codes(std::string_view, std::string_view) {
    return false;
}

#endif

} // namespace prong::ipc
