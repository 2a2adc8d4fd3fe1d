#include "fuzz/manager_targets.hpp"

#include "codec/samples.hpp"
#include "fuzz/helpers.hpp"
#include "ipc/frame.hpp"
#include "manager/channel.hpp"
#include "manager/client.hpp"
#include "manager/greeting.hpp"
#include "manager/objects.hpp"
#include "os/modules.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <system_error>

namespace prong::test {
namespace {

using detail::BufferWriter;
using detail::Operation;
using detail::Reader;

using Trees = std::map<std::string, Tree>;
using Texts = std::vector<std::string>;

// ---- requests -----------------------------------------------------------------------------------

constexpr auto update = [](Trees& trees, const Trees& others) {
    for (const auto& [key, tree] : others) trees.insert_or_assign(key, tree);
};
constexpr auto pop = [](Trees& trees, const std::string& key) -> std::optional<Tree> {
    const auto node = trees.extract(key);
    return node ? std::optional(std::move(node.mapped())) : std::nullopt;
};
constexpr auto at = [](const Texts& texts, std::size_t index) { return texts.at(index); };
constexpr auto size = [](const Texts& texts) { return texts.size(); };

template <class T, class F, class... Args>
using CallOf = detail::ObjectCall<T, F, Args...>;
using MakeTrees = detail::ObjectMaker<Trees, Trees>;
using MakeTexts = detail::ObjectMaker<Texts, Texts>;
using Update = CallOf<Trees, decltype(update), Trees>;
using Pop = CallOf<Trees, decltype(pop), std::string>;
using At = CallOf<Texts, decltype(at), std::size_t>;
using Size = CallOf<Texts, decltype(size)>;

constexpr std::array<const Operation*, 5> operations{&MakeTrees::operation, &MakeTexts::operation,
                                                     &Update::operation, &Pop::operation,
                                                     &At::operation};

/// Sends a request to the objects. Returns the reply.
Bytes reply_of(manager::Objects& objects, std::span<const std::byte> request) {
    BufferWriter reply;
    objects.reply_to(Reader(request), reply);
    return bytes_of(reply);
}

/// Returns what a good request returns.
template <class Result>
Result result_of(manager::Objects& objects, const BufferWriter& request) {
    const Bytes bytes = reply_of(objects, request.bytes());
    manager::require_success(bytes);
    const detail::Reply reply(bytes);
    Reader reader = reply.reader();
    return detail::decode<Result>(reader);
}

template <class Maker, class T>
std::uint64_t make(manager::Objects& objects, const T& contents) {
    BufferWriter request;
    detail::encode_operation(request, Maker::operation, 0);
    Maker::encode_arguments(request, typename Maker::Bound::Parameters{}, contents);
    return result_of<std::uint64_t>(objects, request);
}

/// In the last byte: the lower half chooses the operation, the others the object.
constexpr unsigned operation_bits = 4;

} // namespace

void execute_request(std::span<const std::byte> input) {
    manager::Objects objects;
    const Texts texts{"one", "two"};
    const std::uint64_t bystander = make<MakeTexts>(objects, texts);
    const std::array<std::uint64_t, 4> ids{0, make<MakeTrees>(objects, Trees{{"a", Tree{}}}),
                                           make<MakeTexts>(objects, texts),
                                           detail::RemoteObject::directory};
    const unsigned choice = take<std::uint8_t>(input);
    const unsigned operation = choice % (1U << operation_bits);
    BufferWriter request;
    if (operation < operations.size()) {
        detail::encode_operation(request, *operations[operation],
                                 ids[(choice >> operation_bits) % ids.size()]);
    }
    request.write(input.data(), input.size());
    take_reply(reply_of(objects, bytes_of(request)));

    BufferWriter look;
    detail::encode_operation(look, Size::operation, bystander);
    detail::encode_callable(look, size);
    if (result_of<std::size_t>(objects, look) != texts.size()) std::abort();
}

std::vector<Bytes> requests() {
    std::vector<Bytes> seeds;
    const auto add = [&](unsigned operation, unsigned object, auto encode) {
        BufferWriter arguments;
        encode(arguments);
        Bytes seed = bytes_of(arguments);
        put(seed, static_cast<std::uint8_t>(object << operation_bits | operation));
        seeds.push_back(std::move(seed));
    };
    const Trees trees{{"b", Tree{{"root", {}, 1}, {{{"leaf", {}, 2}, {}}}}}};
    add(0, 0, [&](BufferWriter& to) { detail::encode(to, trees); });
    add(1, 0, [&](BufferWriter& to) { detail::encode(to, Texts{"one", ""}); });
    const auto call = [&]<class Call>(Call, unsigned operation, unsigned object, const auto& f,
                                      const auto&... arguments) {
        add(operation, object, [&](BufferWriter& to) {
            detail::encode_callable(to, f);
            Call::Parts::encode_arguments(to, arguments...);
        });
    };
    call(Update(), 2, 1, update, trees);
    call(Pop(), 3, 1, pop, std::string("a"));
    call(At(), 4, 2, at, std::size_t{1});
    call(At(), 4, 1, at, std::size_t{1});
    for (const std::uint64_t module : {detail::CodePlace::program, detail::CodePlace::none}) {
        add(15, 0, [&](BufferWriter& to) {
            detail::CodePlace place = detail::place_of(&At::operation);
            place.module = module;
            detail::encode(to, place);
            detail::encode(to, detail::RemoteObject::directory);
        });
    }
    return seeds;
}

// ---- replies ------------------------------------------------------------------------------------

void take_reply(std::span<const std::byte> input) {
    run_quietly<CodecError>([&] {
        try {
            manager::require_success(input);
        } catch (...) {
            look_at(std::current_exception());
            return;
        }
        const detail::Reply reply({input.begin(), input.end()});
        Reader reader = reply.reader();
        static_cast<void>(detail::decode<std::optional<Tree>>(reader));
    });
}

std::vector<Bytes> replies() {
    std::vector<Bytes> seeds;
    const auto reply = [&](const auto& result) {
        BufferWriter writer;
        detail::encode(writer, true);
        detail::encode(writer, result);
        seeds.push_back(bytes_of(writer));
    };
    reply(std::optional<Tree>());
    reply(std::optional<Tree>(Tree{{"root", {}, 1}, {{{"leaf", {}, 2}, {}}}}));
    try {
        throw std::out_of_range("text");
    } catch (...) {
        BufferWriter writer;
        manager::replace_by_failure(writer);
        seeds.push_back(bytes_of(writer));
    }
    return seeds;
}

// ---- what comes by the connection ---------------------------------------------------------------

namespace {

enum class Listening : std::uint8_t { client, manager, channel };
constexpr unsigned listening_count = 3;

/// A channel receives what a connection receives.
void compare_with_connection(manager::Channel channel, std::span<const std::byte> input) {
    const std::vector<std::byte> message = channel.receive();
    auto [receiver, sender] = connected(input);
    if (receiver.recv_bytes() != message) std::abort();
}

} // namespace

void take_greeting(std::span<const std::byte> input) {
    const auto listening = static_cast<Listening>(take<std::uint8_t>(input) % listening_count);
    auto [receiver, sender] = connected(input);
    try {
        switch (listening) {
        case Listening::client:
            manager::greet(receiver, "address");
            break;
        case Listening::manager:
            static_cast<void>(manager::receive_greeting(receiver));
            break;
        case Listening::channel:
            compare_with_connection(manager::Channel(std::move(receiver)), input);
            break;
        }
    } catch (const Error& error) { // also EndOfFile and CodecError
        static_cast<void>(std::strlen(error.what()));
    }
}

std::vector<Bytes> greetings() {
    std::vector<Bytes> seeds;
    const auto add = [&](Listening listening, const std::string& text) {
        const Bytes message = encoded(text);
        const ipc::FrameHeader header(message.size());
        Bytes seed(header.bytes().begin(), header.bytes().end());
        seed.insert(seed.end(), message.begin(), message.end());
        put(seed, listening);
        seeds.push_back(std::move(seed));
    };
    for (const Listening listening : {Listening::client, Listening::manager, Listening::channel}) {
        add(listening, "");
        add(listening, "another build");
        add(listening, os::program_build_id());
    }
    return seeds;
}

} // namespace prong::test
