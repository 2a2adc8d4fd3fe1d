// A server of TLS connections: each handshake and all that follows runs in a worker process, which
// has the key from the fork. Then a client, which trusts the server's certificate.

#include <prong/asio.hpp>

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;
namespace ssl = asio::ssl;
using asio::ip::tcp;

/// A key and its certificate, as text.
struct Identity {
    std::string key;
    std::string certificate;
};

/// Makes a certificate for "localhost" that signs itself, valid for an hour.
Identity make_identity() {
    const auto require = [](bool done) {
        if (!done) throw std::runtime_error("no certificate can be made");
    };
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"),
                                                                  EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
    require(key != nullptr && certificate != nullptr);
    const auto* const name = reinterpret_cast<const unsigned char*>("localhost");
    X509_NAME* const subject = X509_get_subject_name(certificate.get());
    require(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, name, -1, -1, 0) == 1 &&
            X509_set_issuer_name(certificate.get(), subject) == 1 &&
            X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0) != nullptr &&
            X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600) != nullptr &&
            X509_set_pubkey(certificate.get(), key.get()) == 1 &&
            X509_sign(certificate.get(), key.get(), EVP_sha256()) != 0);
    const auto written = [&](auto write) {
        const std::unique_ptr<BIO, decltype(&BIO_free)> memory(BIO_new(BIO_s_mem()), BIO_free);
        require(memory != nullptr && write(memory.get()) == 1);
        char* text = nullptr;
        const long size = BIO_get_mem_data(memory.get(), &text);
        return std::string(text, static_cast<std::size_t>(size));
    };
    return {.key = written([&](BIO* out) {
                return PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr,
                                                nullptr);
            }),
            .certificate =
                written([&](BIO* out) { return PEM_write_bio_X509(out, certificate.get()); })};
}

template <typename Stream>
std::string read_line(Stream& stream) {
    std::string line;
    asio::read_until(stream, asio::dynamic_buffer(line), '\n');
    return line;
}

int main() {
    const Identity identity = make_identity();
    ssl::context tls(ssl::context::tls_server);
    tls.use_private_key(asio::buffer(identity.key), ssl::context::pem);
    tls.use_certificate(asio::buffer(identity.certificate), ssl::context::pem);

    asio::io_context context;
    prong::TcpServer server(context, {asio::ip::address_v4::loopback(), 0}, {.workers = 2},
                            [&](tcp::socket& socket) {
                                ssl::stream<tcp::socket&> stream(socket, tls);
                                stream.handshake(ssl::stream_base::server);
                                const std::string line = read_line(stream);
                                if (line == "crash\n") std::abort();
                                asio::write(stream, asio::buffer("you say: " + line));
                            });

    const auto ask = [&](const std::string& line) {
        ssl::context trust(ssl::context::tls_client);
        trust.add_certificate_authority(asio::buffer(identity.certificate));
        trust.set_verify_mode(ssl::verify_peer);
        asio::io_context client_context;
        ssl::stream<tcp::socket> stream(client_context, trust);
        stream.set_verify_callback(ssl::host_name_verification("localhost"));
        stream.next_layer().connect(server.local_endpoint());
        stream.handshake(ssl::stream_base::client);
        asio::write(stream, asio::buffer(line));
        return read_line(stream);
    };
    asio::thread_pool clients(1);
    asio::post(clients, [&] {
        std::cout << ask("hello\n");
        try {
            ask("crash\n");
        } catch (const boost::system::system_error&) {
            std::cout << "the server's process has crashed\n";
        }
        std::cout << ask("hello again\n");
        server.stop();
    });
    server.async_run(asio::detached);
    context.run();
    clients.join();
}
