#include "fuzz/targets.hpp"

#include "codec/exception.hpp"
#include "codec/samples.hpp"
#include "executor/shared/failure_report.hpp"
#include "executor/shared/result_writer.hpp"
#include "executor/thread_pool.hpp"
#include "fuzz/helpers.hpp"
#include "fuzz/manager_targets.hpp"
#include "ipc/handshake.hpp"
#include "ring/fixture.hpp"

#include <prong/prong.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <numeric>
#include <ranges>
#include <regex>

namespace prong::test {
namespace {

using detail::BufferWriter;
using detail::Reader;
using ring::TaskState;

// ---- values: a byte chooses the type ------------------------------------------------------------

template <class Visit>
void for_each_sample(Visit visit) {
    visit(true);
    visit(Record{1, "abc", {1, 2, 3}});
    visit(std::string("text"));
    visit(std::wstring(L"wide"));
    visit(std::filesystem::path("/some/where"));
    visit(std::vector<bool>{true, false, true});
    visit(std::vector<Answer>{Answer::yes, Answer::no});
    visit(std::vector<std::vector<std::vector<std::uint16_t>>>{{{1, 2}, {}}, {}});
    visit(std::map<std::string, std::vector<Record>>{{"a", {Record{}}}, {"b", {}}});
    visit(std::unordered_multimap<int, std::string>{{1, "a"}, {1, "b"}});
    visit(std::deque<WithOptional>{{1, 2}, {3, {}}});
    visit(std::forward_list<std::monostate>(2));
    visit(std::bitset<70>(12345));
    visit(std::variant<NotDefault, std::vector<int>, std::string>("a"));
    visit(std::tuple<int, std::optional<std::string>, double>(1, "a", 2.5));
    visit(Tree{{"root", {}, 1}, {{{"left", {}, Colour::red}, {}}, {{"right", {}, 2}, {Tree{}}}}});
    visit(std::vector<Serialized>{{1, "b"}, {2, "c"}});
    visit(SavedAndLoaded{{1, 2}});
    visit(std::vector<Versioned>{{5}, {6}});
    visit(std::valarray<std::string>{"a", "b"});
    visit(std::make_unique<std::vector<std::string>>(2, "text"));
    const auto shared = std::make_shared<std::string>("text");
    visit(std::vector{shared, shared});
    visit(std::unique_ptr<Shape>(std::make_unique<Square>(3.0)));
    visit(std::vector<std::shared_ptr<Shape>>(2, std::make_shared<Square>(2.0)));
    visit(std::map<int, std::string, Direction>({{1, "a"}, {2, "b"}}, Direction{true}));
    visit(std::unordered_set<int, Seeded, Seeded>({1, 2}, 0, Seeded{7}, Seeded{9}));
    visit(std::priority_queue<int, std::vector<int>, Direction>(Direction{true}, {1, 3, 2}));
    visit(std::vector<std::pair<const std::string, Job>>{{"a", {"b", 1}}});
}

/// What was decoded can be encoded, unless it is nested too deeply for that, and decoded again.
template <typename T>
void decode_twice(std::span<const std::byte> input) {
    Reader reader(input);
    BufferWriter again;
    detail::encode(again, detail::decode<T>(reader));
    Reader second(again.bytes());
    BufferWriter third;
    try {
        detail::encode(third, detail::decode<T>(second));
    } catch (const CodecError&) {
        std::abort();
    }
    if (third.size() != again.size()) std::abort();
}

void decode_value(std::span<const std::byte> input) {
    unsigned left = take<std::uint8_t>(input);
    for_each_sample([&](const auto& sample) {
        using T = std::decay_t<decltype(sample)>;
        if (left-- == 0) run_quietly<CodecError>([&] { decode_twice<T>(input); });
    });
}

std::vector<Bytes> encoded_values() {
    std::vector<Bytes> seeds;
    for_each_sample([&](const auto& sample) {
        Bytes seed = encoded(sample);
        put(seed, static_cast<std::uint8_t>(seeds.size()));
        seeds.push_back(std::move(seed));
    });
    return seeds;
}

// ---- arguments, as a worker reads them ----------------------------------------------------------

/// Reads every byte of its arguments.
struct Looker {
    std::size_t operator()(std::span<const double> numbers, std::string_view text,
                           std::span<const std::uint16_t, 3> three,
                           const std::vector<std::string>& texts, WithOptional pair) const {
        std::size_t sum = std::hash<std::string_view>()(text) ^ texts.size();
        for (const double number : numbers) sum ^= std::hash<double>()(number);
        for (const std::uint16_t number : three) sum ^= number;
        for (const std::string& one : texts) sum ^= std::hash<std::string>()(one);
        return sum ^ static_cast<std::size_t>(pair.b.value_or(0));
    }
};

constexpr std::array<std::uint16_t, 3> three_numbers{1, 2, 3};

void run_task(std::span<const std::byte> input) {
    const auto& type =
        detail::task_type<Looker, std::vector<double>, std::string, decltype(three_numbers),
                          std::vector<std::string>, WithOptional>();
    Reader reader(input);
    BufferWriter result;
    run_quietly<CodecError>([&] { type.run(reader, result); });
}

std::vector<Bytes> encoded_arguments() {
    std::vector<Bytes> seeds;
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5}}) {
        BufferWriter writer;
        detail::encode_task(writer, Looker(), std::vector<double>(size, 1.5),
                            std::string(size, 'x'), three_numbers,
                            std::vector<std::string>(size, "text"), WithOptional{1, 2});
        seeds.push_back(bytes_of(writer));
    }
    return seeds;
}

// ---- exceptions, alone and as elements of a map -------------------------------------------------

template <typename Body>
void for_each_exception(Body body) {
    const auto throw_and_visit = [&](const auto& error) {
        try {
            throw error;
        } catch (...) {
            body();
        }
    };
    throw_and_visit(std::runtime_error("text"));
    throw_and_visit(std::bad_alloc());
    throw_and_visit(std::system_error(EPIPE, std::generic_category(), "text"));
    throw_and_visit(std::filesystem::filesystem_error("text", "/a", "/b", std::error_code()));
    throw_and_visit(std::regex_error(std::regex_constants::error_paren));
    throw_and_visit(std::future_error(std::future_errc::broken_promise));
    throw_and_visit(WorkerDied({.pid = 5, .exitcode = -9, .frames = {nullptr}}, "task"));
    throw_and_visit(PoisonedTask({{.pid = 5}, {.pid = 6, .exitcode = 3}}, 2, "task"));
    throw_and_visit(TaskTimeout("text", "output"));
    throw_and_visit(LimitExceeded(LimitKind::memory, "text", 1, 2, "output"));
    throw_and_visit(42);
    try {
        try {
            throw std::out_of_range("inner");
        } catch (...) {
            std::throw_with_nested(std::logic_error("outer"));
        }
    } catch (...) {
        body();
    }
}

void decode_exception(std::span<const std::byte> input) {
    Reader reader(input);
    look_at(codec::decode_exception(reader));
}

/// What `encode` writes of each exception, while that is handled.
template <typename Encode>
std::vector<Bytes> of_each_exception(Encode encode) {
    std::vector<Bytes> seeds;
    for_each_exception([&] {
        BufferWriter writer;
        encode(writer);
        seeds.push_back(bytes_of(writer));
    });
    return seeds;
}

std::vector<Bytes> encoded_exceptions() {
    const std::vector<const void*> stack(2);
    return of_each_exception([&](auto& to) { codec::encode_current_exception(to, stack); });
}

// ---- results of chunks: whether values are plain, and how many, is behind the bytes
// --------------

void read_chunk(std::span<const std::byte> input) {
    const std::size_t value_bytes = take<std::uint8_t>(input) % 2 != 0 ? sizeof(int) : 0;
    const std::size_t elements = take<std::uint8_t>(input);
    run_quietly<CodecError>([&] {
        detail::ChunkReader chunk(Reader(input), elements, value_bytes);
        while (chunk.left() != 0) {
            std::vector<int> values;
            detail::append_values(values, chunk.values());
            if (!values.empty()) chunk.next(values.size());
            if (chunk.left() == 0) break;
            try {
                Reader value = chunk.value();
                static_cast<void>(detail::decode<int>(value));
                chunk.set_end(value);
            } catch (...) {
                look_at(std::current_exception());
                if (!chunk.knows_end()) return;
            }
            chunk.next();
        }
        static_cast<void>(chunk.elapsed());
    });
}

int fail_odd(int n) {
    if (n % 2 != 0) throw std::runtime_error("odd");
    return n;
}

bool is_small(int n) {
    return fail_odd(n) < 4;
}

template <typename F>
Bytes run_chunk(F function, std::uint8_t is_plain) {
    using Call = detail::TaskCall<F, int>;
    BufferWriter arguments;
    detail::CallableCodec<F>::encode(arguments, function);
    for (int n = 0; n < 6; ++n) Call::encode_arguments(arguments, n);
    BufferWriter result;
    Reader reader(arguments.bytes());
    detail::ChunkFunctions<F, Call>::run(reader, result);
    Bytes seed = bytes_of(result);
    put(seed, std::uint8_t{6});
    put(seed, is_plain);
    return seed;
}

std::vector<Bytes> chunk_results() {
    return {run_chunk(fail_odd, 1), run_chunk(is_small, 0)};
}

// ---- failure reports ----------------------------------------------------------------------------

void decode_failure_report(std::span<const std::byte> input) {
    const auto end = static_cast<TaskState>(take<std::uint8_t>(input));
    executor::TaskSettings settings{};
    settings.timeout_ns = take<std::int64_t>(input);
    run_quietly<CodecError>([&] {
        look_at(executor::error_of(end, executor::read_failure_report(Reader(input)), &settings,
                                   "task"));
    });
}

std::vector<Bytes> written_failure_reports() {
    const BarePool space(1);
    ring::Record& record = space.state().records[0];
    const executor::FailureReport failure_reports[] = {
        {.death = {.pid = 5, .exitcode = 3}},
        {.death = {.pid = 5, .exitcode = -9, .out_of_memory = true, .frames = {nullptr, &record}}},
        {.death = {.last_output = "text\n"}, .excess = executor::Excess{LimitKind::memory, 1, 2}},
        {.death = {.pid = 5}, .earlier = {{.pid = 1, .exitcode = -6}}, .attempts = 2},
    };
    std::vector<Bytes> seeds;
    for (const executor::FailureReport& failure_report : failure_reports) {
        executor::write_failure_report(space.state(), 0, record, failure_report);
        const auto written = space.state().result_of(record).value();
        Bytes seed(written.begin(), written.end());
        put(seed, std::int64_t{0});
        put(seed,
            static_cast<std::uint8_t>(static_cast<std::size_t>(TaskState::died) + seeds.size()));
        seeds.push_back(std::move(seed));
    }
    return seeds;
}

// ---- what a worker says in a record: state, where the result is, the result ---------------------

/// Claims the oldest task of a pool without workers, and lets `write` write its result.
template <typename Write>
void play_worker(executor::SharedState& state, Write write, TaskState end) {
    const auto claim = test::claim(state, 0);
    if (!claim) return;
    executor::ResultWriter writer(state, 0, *claim->record);
    write(writer);
    writer.store();
    ring::finish(*claim, end);
}

/// In the last byte: what is before it says where the result is, and how much of it is output; the
/// result is looked at in place.
constexpr std::uint8_t own_place = 0x80;
constexpr std::uint8_t own_output = 0x40;
constexpr std::uint8_t in_place = 0x20;

/// `make`: the task, which gets a text; `take_end` takes its future's result.
template <typename Make, typename End>
void take_result(std::uint8_t kind, std::span<const std::byte> input, Make make, End take_end) {
    const auto first = static_cast<unsigned>(TaskState::returned);
    const auto last = static_cast<unsigned>(TaskState::lost) + 1;
    const auto end = static_cast<TaskState>(first + (kind & 0x0f) % (last - first + 1));
    BarePool pool(1);
    auto future = pool.with({.timeout = std::chrono::hours(1)}).submit(make, std::string(20, 'x'));
    ring::Record* record = nullptr;
    std::array<std::uint64_t, 2> place{};
    if ((kind & own_place) != 0) place = take<std::array<std::uint64_t, 2>>(input);
    for (ring::Record& one : pool.state().records.first(4)) {
        if (ring::status_of(one).state == TaskState::queued) record = &one;
    }
    const auto output = (kind & own_output) != 0 ? take<std::uint64_t>(input) : 0;
    const auto write_input = [&](detail::Writer& writer) {
        writer.write(input.data(), input.size());
    };
    play_worker(pool.state(), write_input, end);
    if (record != nullptr && (kind & own_place) != 0) {
        record->result_end = place[0];
        if (place[1] != 0) record->arguments_end = place[1];
    }
    if (record != nullptr) {
        const auto index = static_cast<std::uint32_t>(record - pool.state().records.data());
        pool.state().settings(index).output_length = output;
    }
    static_cast<void>(future.output());
    look_at(future.exception());
    run_quietly<std::exception>([&] { take_end(future); });
}

void take_any_result(std::span<const std::byte> input) {
    const auto kind = take<std::uint8_t>(input);
    if ((kind & in_place) == 0) {
        const auto texts = [](const std::string& text) { return std::vector{text}; };
        take_result(kind, input, texts, [](auto& future) { static_cast<void>(future.get()); });
    } else {
        const auto sizes = [](const std::string& text) { return std::vector{text.size()}; };
        take_result(kind, input, sizes, [](auto& future) {
            const auto view = future.view();
            [[maybe_unused]] const volatile std::size_t sum =
                std::accumulate(view.begin(), view.end(), std::size_t{0});
        });
    }
}

std::vector<Bytes> results() {
    std::vector<Bytes> seeds;
    for (const unsigned kind :
         {0x00U, 0x01U, 0x02U, 0x03U, 0x20U, 0x40U, 0x41U, 0x60U, 0x80U, 0x81U, 0x82U, 0xa0U}) {
        Bytes seed = (kind & in_place) != 0
                         ? encoded(std::vector<std::size_t>{1, 2, 3})
                         : encoded(std::vector<std::string>{"text", "", "more text"});
        if ((kind & own_output) != 0) put(seed, std::uint64_t{4});
        if ((kind & own_place) != 0) put(seed, std::array<std::uint64_t, 2>{128, 40});
        put(seed, static_cast<std::uint8_t>(kind));
        seeds.push_back(std::move(seed));
    }
    return seeds;
}

void take_mapped(std::span<const std::byte> input) {
    BarePool pool(1);
    const auto task = [](int n) { return std::string(static_cast<std::size_t>(n), 'x'); };
    auto mapped = pool.map({.chunksize = 3}, task, std::views::iota(0, 6));
    const auto middle = input.size() / 2;
    for (const auto part : {input.first(middle), input.subspan(middle)}) {
        const auto write_part = [&](detail::Writer& writer) {
            writer.write(part.data(), part.size());
        };
        play_worker(pool.state(), write_part, TaskState::returned);
    }
    for (auto it = mapped.begin(); it != mapped.end(); ++it) {
        run_quietly<std::exception>([&] { static_cast<void>(*it); });
    }
}

std::vector<Bytes> chunks() {
    std::vector<Bytes> seeds;
    for (const bool failing : {false, true}) {
        BufferWriter writer;
        for (int chunk = 0; chunk < 2; ++chunk) {
            for (int element = 0; element < 3; ++element) {
                const bool fails = failing && element == 1;
                detail::encode(writer, fails ? detail::element_thrown : detail::element_returned);
                if (!fails) {
                    detail::encode(writer, std::string("text"));
                    continue;
                }
                try {
                    throw std::runtime_error("text");
                } catch (...) {
                    detail::encode_element_failure(writer);
                }
            }
            detail::encode(writer, std::int64_t{1000});
        }
        seeds.push_back(bytes_of(writer));
    }
    return seeds;
}

// ---- messages through a pipe --------------------------------------------------------------------

void receive_messages(std::span<const std::byte> input) {
    auto [receiver, sender] = connected(input);
    for (bool more = true; more;) {
        try {
            static_cast<void>(receiver.recv<std::vector<std::string>>());
        } catch (const EndOfFile&) {
            more = false;
        } catch (const CodecError&) { // the next one may be good
        }
    }
}

std::vector<Bytes> messages() {
    auto [receiver, sender] = Pipe();
    sender.send(std::vector<std::string>{"one", ""});
    sender.send_bytes("");
    sender.send(std::vector<std::string>{"two"});
    Bytes seed(1000);
    const ssize_t size = read(receiver.fileno(), seed.data(), seed.size());
    seed.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    return {seed};
}

// ---- the handshake of a connection: a byte chooses the side -----------------------------------

void shake_hands(std::span<const std::byte> input) {
    const auto side = static_cast<ipc::Side>(take<std::uint8_t>(input) & 1);
    ipc::Handshake handshake(side, "key");
    for (;;) {
        static_cast<void>(handshake.take_output());
        const auto room = handshake.room();
        const std::size_t count = std::min(room.size(), input.size());
        if (count == 0) break;
        std::ranges::copy(input.first(count), room.begin());
        handshake.received(count);
        input = input.subspan(count);
    }
    if (handshake.finished()) std::abort(); // without the right reply to its challenge
}

std::vector<Bytes> handshakes() {
    std::vector<Bytes> seeds;
    for (const auto side : {ipc::Side::listener, ipc::Side::client}) {
        for (const std::string text :
             {"#CHALLENGE#{sha3_384}0123456789012345678901234567890123456789",
              "#CHALLENGE#01234567890123456789", "{md5}0123456789012345", "0123456789012345"}) {
            Bytes seed;
            for (const std::string& message : {text, std::string("#WELCOME#")}) {
                const ipc::FrameHeader header(message.size());
                seed.insert(seed.end(), header.bytes().begin(), header.bytes().end());
                const auto bytes = std::as_bytes(std::span(message));
                seed.insert(seed.end(), bytes.begin(), bytes.end());
            }
            put(seed, side);
            seeds.push_back(std::move(seed));
        }
    }
    return seeds;
}

// ---- what a task is called ----------------------------------------------------------------------

struct Named {
    int value = 0;
    [[nodiscard]] int get() const { return value; }
};

void name_task(std::span<const std::byte> input) {
    const Reader arguments(input);
    static_cast<void>(detail::task_type<int (*)(int), int>().name(arguments));
    static_cast<void>(detail::task_type<decltype(&Named::get), Named>().name(arguments));
    static_cast<void>(detail::task_type<std::plus<>, int, int>().name(arguments));
}

std::vector<Bytes> addresses() {
    return {Bytes(16, std::byte{1}), Bytes(12)};
}

// ---- the broken one -----------------------------------------------------------------------------

void believe_length(std::span<const std::byte> input) {
    if (input.size() < 2) return;
    const auto length = std::to_integer<std::size_t>(input[0]);
    const std::vector<std::byte> text(input.data() + 1, input.data() + 1 + length);
    detail::BufferWriter copy;
    copy.write(text.data(), text.size());
}

std::vector<Bytes> texts() {
    return {{std::byte{3}, std::byte{'a'}, std::byte{'b'}, std::byte{'c'}}};
}

} // namespace

const std::vector<FuzzTarget>& fuzz_targets() {
    static const std::vector<FuzzTarget> targets{
        {"value", decode_value, encoded_values},
        {"arguments", run_task, encoded_arguments},
        {"exception", decode_exception, encoded_exceptions},
        {"chunk", read_chunk, chunk_results},
        {"failure_report", decode_failure_report, written_failure_reports},
        {"result", take_any_result, results},
        {"map", take_mapped, chunks},
        {"message", receive_messages, messages},
        {"handshake", shake_hands, handshakes},
        {"name", name_task, addresses},
        {"request", execute_request, requests},
        {"reply", take_reply, replies},
        {"greeting", take_greeting, greetings},
    };
    return targets;
}

std::vector<Bytes> kept_inputs(const FuzzTarget& target) {
    const auto folder = std::filesystem::path(PRONG_TESTS "/fuzz/corpus") / target.name;
    std::vector<std::filesystem::path> files;
    if (std::filesystem::exists(folder)) {
        for (const auto& entry : std::filesystem::directory_iterator(folder))
            files.push_back(entry.path());
    }
    std::ranges::sort(files); // a seed means the same everywhere
    std::vector<Bytes> inputs;
    for (const auto& path : files) {
        Bytes& input = inputs.emplace_back(std::filesystem::file_size(path));
        std::ifstream(path, std::ios::binary)
            .read(reinterpret_cast<char*>(input.data()),
                  static_cast<std::streamsize>(input.size()));
    }
    return inputs;
}

const FuzzTarget& trusting_target() {
    static const FuzzTarget target{"trusting", believe_length, texts};
    return target;
}

} // namespace prong::test
