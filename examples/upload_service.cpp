// A web service that makes thumbnails of uploaded pictures. A decoder of pictures may crash or loop
// on a bad one, so worker processes run it, with limits: the service answers each request all the
// same, and answers at once when it has too much to do. SIGTERM or Ctrl-C ends it.
//
//     curl --data-binary @picture.ppm http://localhost:PORT/ >thumbnail.ppm

#include <prong/asio.hpp>
#include <prong/prong.hpp>

#include <CLI/CLI.hpp>
#include <boost/asio.hpp>
#include <boost/beast.hpp>

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

/// Halves a picture of the format PPM (P6). Stands for a library with all bugs that decoders have.
std::string thumbnail(const std::string& picture) {
    std::istringstream in(picture);
    std::string format;
    std::size_t width = 0;
    std::size_t height = 0;
    std::size_t brightest = 0;
    if (!(in >> format >> width >> height >> brightest) || format != "P6" || brightest != 255)
        throw std::invalid_argument("this is no picture");
    const std::string pixels = picture.substr(static_cast<std::size_t>(in.tellg()) + 1);
    if (width * height == 0) {
        for (;;) pause(); // a loop whose end never comes
    }
    if (pixels.size() < 3 * width * height) std::abort(); // a crash on truncated files
    std::ostringstream out;
    out << "P6 " << (width + 1) / 2 << " " << (height + 1) / 2 << " 255\n";
    for (std::size_t y = 0; y < height; y += 2) {
        for (std::size_t x = 0; x < width; x += 2) out << pixels.substr(3 * (y * width + x), 3);
    }
    return out.str();
}

using Response = http::response<http::string_body>;

Response respond(http::status status, std::string body) {
    Response response(status, 11);
    response.body() = std::move(body);
    return response;
}

/// What the service does with one request.
asio::awaitable<Response> answer(const prong::ProcessPoolExecutor& pool,
                                 const prong::TaskOptions& limits,
                                 const http::request<http::string_body>& request) {
    if (request.method() == http::verb::get) {
        const prong::PoolStats stats = pool.stats();
        co_return respond(http::status::ok, std::to_string(stats.running) + " running, " +
                                                std::to_string(stats.queued) + " queued\n");
    }
    try {
        auto future = pool.with(limits).try_submit(thumbnail, request.body());
        if (!future) co_return respond(http::status::service_unavailable, "too many pictures\n");
        co_return respond(http::status::ok, co_await prong::async_get(std::move(*future)));
    } catch (const std::invalid_argument& error) { // thrown by the decoder
        co_return respond(http::status::bad_request, error.what() + std::string("\n"));
    } catch (const prong::WorkerDied&) {
        co_return respond(http::status::internal_server_error, "the decoder has crashed\n");
    } catch (const prong::TaskTimeout&) {
        co_return respond(http::status::gateway_timeout, "the decoder took too long\n");
    } catch (const prong::LimitExceeded&) {
        co_return respond(http::status::payload_too_large, "the decoder needs too much memory\n");
    }
}

asio::awaitable<void> serve(tcp::socket socket, const prong::ProcessPoolExecutor& pool,
                            const prong::TaskOptions& limits) {
    boost::beast::flat_buffer buffer;
    http::request<http::string_body> request;
    co_await http::async_read(socket, buffer, request, asio::use_awaitable);
    Response response = co_await answer(pool, limits, request);
    response.keep_alive(false);
    response.prepare_payload();
    co_await http::async_write(socket, response, asio::use_awaitable);
    socket.shutdown(tcp::socket::shutdown_send);
}

asio::awaitable<void> listen(tcp::acceptor& acceptor, const prong::ProcessPoolExecutor& pool,
                             const prong::TaskOptions& limits) {
    for (;;) {
        tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
        // What goes wrong with a client, such as its disconnection, concerns no other one.
        asio::co_spawn(acceptor.get_executor(), serve(std::move(socket), pool, limits),
                       [](const std::exception_ptr&) {});
    }
}

int main(int argc, char** argv) {
    CLI::App app("Makes thumbnails of uploaded pictures in worker processes");
    unsigned short port = 0;
    int workers = 2;
    std::size_t waiting = 16;
    double seconds = 2;
    app.add_option("--port", port, "port on 127.0.0.1 (default: any that is free)");
    app.add_option("--workers", workers, "pictures that are decoded at once (default: 2)");
    app.add_option("--waiting", waiting, "pictures that may wait for that (default: 16)");
    app.add_option("--timeout", seconds, "seconds for a picture (default: 2)");
    CLI11_PARSE(app, argc, argv);

    const prong::ProcessPoolExecutor pool({.max_workers = workers, .max_pending = waiting});
    const prong::TaskOptions limits{
        .timeout = std::chrono::duration<double>(seconds),
        .limits = {.memory_bytes = 256 << 20},
    };
    asio::io_context context;
    tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), port));
    std::cout << "listening on port " << acceptor.local_endpoint().port() << std::endl;
    asio::co_spawn(context, listen(acceptor, pool, limits), asio::detached);
    asio::signal_set signals(context, SIGTERM, SIGINT);
    signals.async_wait([&](auto, int) { context.stop(); });
    context.run();
}
