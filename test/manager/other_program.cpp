// Another program than the test: connects to the manager whose address and authkey it is given, and
// prints how that ends. other_program ADDRESS AUTHKEY

#include <prong/error.hpp>
#include <prong/manager.hpp>

#include <exception>
#include <iostream>

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    try {
        const auto manager = prong::Manager::connect(argv[1], argv[2]);
        std::cout << "connected\n";
        return 1;
    } catch (const prong::AuthenticationError& error) {
        std::cout << "AuthenticationError: " << error.what() << '\n';
    } catch (const prong::Error& error) {
        std::cout << "Error: " << error.what() << '\n';
    }
    return 0;
}
