#include <prong/codec.hpp>

#include "codec/list.hpp"
#include "codec/mutate.hpp"
#include "codec/samples.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <random>

// A worker that corrupts memory may write anything. Decoding gives a value or an exception for any
// bytes. The sanitizers show that nothing else happens.

using namespace prong;
using namespace prong::test;
using prong::detail::BufferWriter;
using prong::detail::Reader;

namespace {

/// Memory of exactly this size, so that the sanitizer sees a read beyond it.
std::vector<std::byte> exact_copy(std::span<const std::byte> bytes) {
    return {bytes.begin(), bytes.end()};
}

void cut_everywhere(const Samples& samples) {
    for (const auto& sample : samples) {
        INFO(sample->type());
        const auto whole = sample->encoded();
        for (std::size_t size = 0; size < whole.size(); ++size) {
            const auto bytes = exact_copy(std::span(whole).first(size));
            if (sample->decode_and_use(bytes)) FAIL_CHECK("decoded from " << size << " bytes");
        }
    }
}

void mutate_often(const Samples& samples) {
    for (const auto& sample : samples) {
        INFO(sample->type());
        const auto whole = sample->encoded();
        std::mt19937_64 random(test_seed());
        const int rounds = full_run() ? 20'000 : 500;
        for (int i = 0; i < rounds; ++i) {
            auto bytes = whole;
            mutate(bytes, random);
            bytes.shrink_to_fit();
            sample->decode_and_use(bytes);
        }
    }
}

struct ConstructedLink { // made by load_and_construct
    explicit ConstructedLink(std::unique_ptr<ConstructedLink> given) : next(std::move(given)) {}
    template <class Archive>
    void serialize(Archive& archive) {
        archive(next);
    }
    template <class Archive>
    static void load_and_construct(Archive& archive,
                                   cereal::construct<ConstructedLink>& construct) {
        std::unique_ptr<ConstructedLink> next;
        archive(next);
        construct(std::move(next));
    }
    std::unique_ptr<ConstructedLink> next;
};

} // namespace

TEST_CASE("bytes that end early are an error at every length", "[codec]") {
    cut_everywhere(scalar_samples());
    cut_everywhere(container_samples());
    cut_everywhere(class_samples());
    cut_everywhere(pointer_samples());
}

TEST_CASE("changed bytes give a value or an error", "[codec]") {
    mutate_often(scalar_samples());
    mutate_often(container_samples());
    mutate_often(class_samples());
    mutate_often(pointer_samples());
}

TEST_CASE("a size beyond the bytes is refused before memory is asked for", "[codec]") {
    BufferWriter writer;
    detail::encode(writer, std::uint64_t{1} << 60);
    CHECK(!decode_and_use<std::string>(writer.bytes()));
    CHECK(!decode_and_use<std::vector<double>>(writer.bytes()));
    CHECK(!decode_and_use<std::vector<std::string>>(writer.bytes()));
    CHECK(!decode_and_use<std::list<int>>(writer.bytes()));
    CHECK(!decode_and_use<std::unordered_map<int, int>>(writer.bytes()));
    CHECK(!decode_and_use<SavedAndLoaded>(writer.bytes()));
}

TEST_CASE("a bool is true or false for any byte", "[codec]") {
    const std::vector<std::byte> bytes(16, std::byte{0x42});
    Reader reader(bytes);
    CHECK(static_cast<int>(detail::decode<bool>(reader)) == 1);
    CHECK(detail::decode<Answer>(reader) == Answer::yes);
    CHECK(detail::decode<std::array<bool, 2>>(reader) == std::array{true, true});
    CHECK(detail::decode<std::optional<bool>>(reader) == std::optional(true));
}

TEST_CASE("the state of a comparison is a value for any bytes", "[codec]") {
    struct Flagged {
        int flags;
        std::array<Direction, 1> directions;
        bool operator()(int a, int b) const { return directions[0](a, b); }
    };
    const std::vector<std::byte> bytes(64, std::byte{0x42});
    Reader reader(bytes);
    CHECK(!decode_and_use<std::set<int, Flagged>>(bytes)); // the size is too large
    std::vector<std::byte> empty = bytes;
    std::ranges::fill(std::span(empty).subspan(sizeof(Flagged)), std::byte{0});
    Reader of_empty(empty);
    const auto set = detail::decode<std::set<int, Flagged>>(of_empty);
    CHECK(std::bit_cast<std::uint8_t>(set.key_comp().directions[0].down) == 1);
}

TEST_CASE("a heap is one for any bytes", "[codec]") {
    BufferWriter writer;
    detail::encode(writer, std::vector<int>{1, 3, 2}); // not in the order of a heap
    Reader reader(writer.bytes());
    CHECK(detail::decode<std::priority_queue<int>>(reader).top() == 3);
}

TEST_CASE("text that is no bits is no bitset", "[codec]") {
    BufferWriter writer;
    detail::encode(writer, std::uint8_t{2}); // cereal's mark of a text
    detail::encode(writer, std::string("012"));
    CHECK(!decode_and_use<std::bitset<70>>(writer.bytes()));
}

TEST_CASE("an alternative that a variant does not have is refused", "[codec]") {
    BufferWriter writer;
    detail::encode(writer, std::uint32_t{2});
    detail::encode(writer, 1);
    CHECK(!decode_and_use<std::variant<int, char>>(writer.bytes()));
}

TEST_CASE("a shared object does not change its type", "[codec]") {
    BufferWriter writer; // a pointer to a new string, then one to the same object as a vector
    detail::encode(writer, cereal::detail::msb_32bit | 1U);
    detail::encode(writer, std::string("text"));
    detail::encode(writer, std::uint32_t{1});
    using Both = std::pair<std::shared_ptr<std::string>, std::shared_ptr<std::vector<double>>>;
    CHECK(!decode_and_use<Both>(writer.bytes()));
    CHECK(decode_and_use<std::pair<Both::first_type, Both::first_type>>(writer.bytes()));
}

TEST_CASE("nesting that would exhaust the stack is refused on both sides", "[codec]") {
    const std::vector<std::byte> bytes(1'000'000, std::byte{1}); // a link, and a link, and a link
    CHECK(!decode_and_use<Link>(bytes));
    CHECK(!decode_and_use<std::vector<Link>>(bytes));
    CHECK(!decode_and_use<std::unique_ptr<ConstructedLink>>(bytes));
    BufferWriter writer;
    CHECK_THROWS_AS(detail::encode(writer, list_of(5'000)), CodecError);
}

TEST_CASE("a list of a thousand links is not too deep, one more is", "[codec]") {
    BufferWriter writer;
    detail::encode(writer, list_of(1'000));
    CHECK(decode_and_use<Link>(writer.bytes()));
    CHECK_THROWS_WITH(detail::encode(writer, list_of(1'001)),
                      Catch::Contains("more than 1000 objects") &&
                          Catch::Contains("PoolOptions::max_nesting"));
}

TEST_CASE("how deep values may be nested can be said", "[codec]") {
    BufferWriter writer(5'000);
    detail::encode(writer, list_of(5'000));
    CHECK(!decode_and_use<Link>(writer.bytes()));
    Reader reader(writer.bytes());
    reader.set_max_nesting(5'000);
    detail::decode<Link>(reader);
    CHECK(reader.remaining() == 0);
}
