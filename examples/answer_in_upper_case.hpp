#pragma once

#include <boost/asio.hpp>

#include <algorithm>
#include <cctype>
#include <string>

/// Sends back what the client sends, in upper case, until it closes the connection.
inline void answer_in_upper_case(boost::asio::ip::tcp::socket& socket) {
    std::string buffer(4096, '\0');
    boost::system::error_code error;
    for (;;) {
        const std::size_t size = socket.read_some(boost::asio::buffer(buffer), error);
        if (error) return;
        std::transform(buffer.begin(), buffer.end(), buffer.begin(),
                       [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
        boost::asio::write(socket, boost::asio::buffer(buffer, size), error);
        if (error) return;
    }
}
