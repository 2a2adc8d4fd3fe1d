// What one would build from Boost: workers forked beforehand, two
// boost::interprocess::message_queue.

#include "competitor.hpp"

#include <boost/interprocess/ipc/message_queue.hpp>

#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <stdexcept>

namespace bench {
namespace {

namespace ipc = boost::interprocess;

constexpr int block_count = 4096; // numbers in one message of the map

enum class Kind : std::int32_t { call, squares, echo, make, stop };

struct Header {
    Kind kind;
    std::int32_t id;
    std::int32_t argument;
    std::int32_t result;
    Task task;
};

class MessageQueue final : public Competitor {
public:
    explicit MessageQueue(Setup setup)
        : message_bytes_(sizeof(Header) +
                         std::max(setup.payload_bytes, block_count * sizeof(std::int64_t))),
          capacity_(setup.payload_bytes == 0 ? 256 : 2),
          requests_(ipc::create_only, queue_name("requests").c_str(), capacity_, message_bytes_),
          replies_(ipc::create_only, queue_name("replies").c_str(), capacity_, message_bytes_),
          buffer_(message_bytes_) {
        // The workers inherit the queues, so the names can go at once.
        ipc::message_queue::remove(queue_name("requests").c_str());
        ipc::message_queue::remove(queue_name("replies").c_str());
        for (int i = 0; i < setup.workers; ++i) {
            const pid_t pid = fork();
            if (pid == 0) serve();
            workers_.push_back(pid);
        }
    }

    ~MessageQueue() override {
        const Header stop{.kind = Kind::stop, .id = 0, .argument = 0, .result = 0, .task = nullptr};
        for (std::size_t i = 0; i < workers_.size(); ++i) requests_.send(&stop, sizeof(stop), 0);
        for (const pid_t pid : workers_) waitpid(pid, nullptr, 0);
    }

    std::int64_t run_all(Task task, int count) override {
        std::vector<int> results(static_cast<std::size_t>(count));
        exchange(
            count,
            [&](int id) {
                return put(
                    {.kind = Kind::call, .id = id, .argument = id, .result = 0, .task = task});
            },
            [&](const Header& header) {
                results[static_cast<std::size_t>(header.id)] = header.result;
            });
        std::int64_t sum = 0;
        for (const int result : results) sum += result;
        return sum;
    }

    int call(int n) override {
        requests_.send(
            buffer_.data(),
            put({.kind = Kind::call, .id = 0, .argument = n, .result = 0, .task = increment}), 0);
        receive();
        return header().result;
    }

    std::vector<std::int64_t> map_squares(int count) override {
        std::vector<std::int64_t> squares(static_cast<std::size_t>(count));
        const auto size_of = [count](int block) {
            return std::min(block_count, count - block * block_count);
        };
        exchange((count + block_count - 1) / block_count,
                 [&](int block) {
                     int* const numbers = reinterpret_cast<int*>(buffer_.data() + sizeof(Header));
                     for (int i = 0; i < size_of(block); ++i) numbers[i] = block * block_count + i;
                     return put({.kind = Kind::squares,
                                 .id = block,
                                 .argument = size_of(block),
                                 .result = 0,
                                 .task = nullptr}) +
                            static_cast<std::size_t>(size_of(block)) * sizeof(int);
                 },
                 [&](const Header& reply) {
                     std::memcpy(&squares[static_cast<std::size_t>(reply.id * block_count)],
                                 buffer_.data() + sizeof(Header),
                                 static_cast<std::size_t>(size_of(reply.id)) *
                                     sizeof(std::int64_t));
                 });
        return squares;
    }

    Bytes echo(const Bytes& bytes) override {
        const std::size_t size =
            put({.kind = Kind::echo, .id = 0, .argument = 0, .result = 0, .task = nullptr});
        std::memcpy(buffer_.data() + size, bytes.data(), bytes.size());
        requests_.send(buffer_.data(), size + bytes.size(), 0);
        return receive_bytes();
    }

    Bytes result(int size) override {
        requests_.send(
            buffer_.data(),
            put({.kind = Kind::make, .id = 0, .argument = size, .result = 0, .task = nullptr}), 0);
        return receive_bytes();
    }

private:
    /// A queue that does not fit into /dev/shm would end in a SIGBUS.
    std::string queue_name(const char* role) const {
        struct statvfs space {};
        statvfs("/dev/shm", &space);
        if (space.f_bavail * space.f_bsize < 2 * capacity_ * message_bytes_) {
            throw std::runtime_error("/dev/shm is too small");
        }
        return "prong-bench-" + std::to_string(getpid()) + "-" + role;
    }

    Header header() const {
        Header header;
        std::memcpy(&header, buffer_.data(), sizeof(header));
        return header;
    }

    std::size_t put(const Header& header) {
        std::memcpy(buffer_.data(), &header, sizeof(header));
        return sizeof(header);
    }

    std::size_t receive() {
        std::size_t size = 0;
        unsigned priority = 0;
        replies_.receive(buffer_.data(), buffer_.size(), size, priority);
        return size;
    }

    Bytes receive_bytes() {
        const std::size_t received = receive();
        return {buffer_.begin() + sizeof(Header), buffer_.begin() + static_cast<long>(received)};
    }

    /// Sends `count` requests and takes as many replies, keeping at most what both queues hold so
    /// that no side waits for the other in a circle.
    template <typename Fill, typename Take>
    void exchange(int count, Fill fill, Take take) {
        int sent = 0;
        for (int received = 0; received < count;) {
            if (sent < count && sent - received < static_cast<int>(capacity_)) {
                requests_.send(buffer_.data(), fill(sent++), 0);
                continue;
            }
            receive();
            take(header());
            ++received;
        }
    }

    [[noreturn]] void serve() {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            std::size_t size = 0;
            unsigned priority = 0;
            requests_.receive(buffer_.data(), buffer_.size(), size, priority);
            Header request = header();
            if (request.kind == Kind::stop) _exit(0);
            if (request.kind == Kind::call) {
                request.result = request.task(request.argument);
                put(request);
            } else if (request.kind == Kind::squares) {
                const auto numbers = static_cast<std::size_t>(request.argument);
                std::vector<int> in(numbers);
                std::memcpy(in.data(), buffer_.data() + sizeof(Header), numbers * sizeof(int));
                auto* const out = reinterpret_cast<std::int64_t*>(buffer_.data() + sizeof(Header));
                for (std::size_t i = 0; i < numbers; ++i) out[i] = square(in[i]);
                size = sizeof(Header) + numbers * sizeof(std::int64_t);
            }
            if (request.kind == Kind::make) {
                const Bytes made = make_bytes(request.argument);
                std::memcpy(buffer_.data() + sizeof(Header), made.data(), made.size());
                size = sizeof(Header) + made.size();
            }
            replies_.send(buffer_.data(), size, 0);
        }
    }

    std::size_t message_bytes_;
    std::size_t capacity_;
    ipc::message_queue requests_;
    ipc::message_queue replies_;
    Bytes buffer_;
    std::vector<pid_t> workers_;
};

} // namespace

std::unique_ptr<Competitor> make_message_queue(Setup setup) {
    return std::make_unique<MessageQueue>(setup);
}

} // namespace bench
