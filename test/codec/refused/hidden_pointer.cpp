// expect: the compiler cannot see whether this class or union holds pointers
// expect: inline constexpr bool prong::is_bitwise_transferable<TheClass> = true;
// expect: boost::basic_string_view<char
#include "submit.hpp"

#include <boost/utility/string_view.hpp>

std::size_t length(boost::string_view text) {
    return text.size();
}

void test() {
    submit(length, boost::string_view("abc"));
}
