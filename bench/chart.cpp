// The chart: lines over the pool size where there are several sizes, else bars. Values are on a
// logarithmic axis, for a thread and an interpreter are decades apart.

#include "results.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace bench {
namespace {

constexpr double panel_width = 460;
constexpr double panel_height = 300;
constexpr double left = 60;
constexpr double top = 40;
constexpr double plot_width = 370;
constexpr double plot_height = 200;
constexpr int columns = 2;

constexpr std::array colors{"#d62728", "#1f77b4", "#2ca02c", "#9467bd",
                            "#8c564b", "#e377c2", "#bcbd22", "#7f7f7f"};

const char* color(std::size_t competitor) {
    return colors[competitor % colors.size()];
}

void text(std::ostream& out, double x, double y, const std::string& anchor,
          const std::string& words) {
    out << "<text x='" << x << "' y='" << y << "' text-anchor='" << anchor << "'>" << words
        << "</text>\n";
}

void line(std::ostream& out, double x1, double y1, double x2, double y2, const char* stroke) {
    out << "<line x1='" << x1 << "' y1='" << y1 << "' x2='" << x2 << "' y2='" << y2 << "' stroke='"
        << stroke << "'/>\n";
}

std::string power_label(int exponent) {
    char words[16];
    std::snprintf(words, sizeof(words), exponent < 0 ? "%.*f" : "1e%d",
                  exponent < 0 ? -exponent : exponent, std::pow(10, exponent));
    return exponent >= 0 && exponent < 4 ? std::to_string(static_cast<int>(std::pow(10, exponent)))
                                         : words;
}

struct Point {
    std::size_t competitor;
    int workers;
    double value;
};

/// One metric in its own frame.
class Panel {
public:
    Panel(std::ostream& out, std::vector<Point> points, std::vector<int> sizes)
        : out_(out), points_(std::move(points)), sizes_(std::move(sizes)) {
        const auto [least, most] = std::ranges::minmax_element(points_, {}, &Point::value);
        low_ = static_cast<int>(std::floor(std::log10(least->value)));
        high_ = std::max(low_ + 1, static_cast<int>(std::ceil(std::log10(most->value))));
    }

    void draw(const Metric& metric) const {
        text(out_, left, top - 14, "start",
             metric.title + ", " + metric.unit +
                 (metric.more_is_better ? " (more is better)" : " (less is better)"));
        for (int power = low_; power <= high_; ++power) {
            const double height = y(std::pow(10, power));
            line(out_, left, height, left + plot_width, height, "#ddd");
            text(out_, left - 6, height + 4, "end", power_label(power));
        }
        sizes_.size() > 1 ? draw_lines() : draw_bars();
    }

private:
    [[nodiscard]] double y(double value) const {
        const double share = (std::log10(value) - low_) / (high_ - low_);
        return top + plot_height * (1 - share);
    }

    void draw_lines() const {
        const auto x = [this](int workers) {
            const auto place = std::ranges::find(sizes_, workers) - sizes_.begin();
            return left + 20 +
                   (plot_width - 40) * static_cast<double>(place) /
                       static_cast<double>(sizes_.size() - 1);
        };
        for (const int workers : sizes_) {
            text(out_, x(workers), top + plot_height + 18, "middle", std::to_string(workers));
        }
        text(out_, left + plot_width / 2, top + plot_height + 36, "middle", "workers");
        const Point* before = nullptr;
        for (const Point& point : points_) { // sorted by competitor, then size
            out_ << "<circle cx='" << x(point.workers) << "' cy='" << y(point.value)
                 << "' r='3' fill='" << color(point.competitor) << "'/>\n";
            if (before != nullptr && before->competitor == point.competitor) {
                line(out_, x(before->workers), y(before->value), x(point.workers), y(point.value),
                     color(point.competitor));
            }
            before = &point;
        }
    }

    void draw_bars() const {
        const double step = plot_width / static_cast<double>(points_.size());
        double x = left + step * 0.15;
        for (const Point& point : points_) {
            out_ << "<rect x='" << x << "' y='" << y(point.value) << "' width='" << step * 0.7
                 << "' height='" << top + plot_height - y(point.value) << "' fill='"
                 << color(point.competitor) << "'/>\n";
            text(out_, x + step * 0.35, y(point.value) - 4, "middle", short_number(point.value));
            x += step;
        }
    }

    std::ostream& out_;
    std::vector<Point> points_;
    std::vector<int> sizes_;
    int low_ = 0;
    int high_ = 1;
};

} // namespace

void write_svg(std::ostream& out, const Results& results,
               const std::vector<std::string>& competitors) {
    struct Filled {
        Metric metric;
        std::vector<Point> points;
        std::vector<int> sizes;
    };
    std::vector<Filled> panels;
    for (const Workload& workload : workloads()) {
        for (const Metric& metric : workload.metrics) {
            Filled panel{.metric = metric, .points = {}, .sizes = {}};
            for (std::size_t i = 0; i < competitors.size(); ++i) {
                for (const auto& [key, values] : results.all()) {
                    if (key.competitor != competitors[i] || key.metric != metric.id) continue;
                    panel.points.push_back({i, key.workers, *results.median(key)});
                    panel.sizes.push_back(key.workers);
                }
            }
            std::ranges::sort(panel.sizes);
            panel.sizes.erase(std::unique(panel.sizes.begin(), panel.sizes.end()),
                              panel.sizes.end());
            if (!panel.points.empty()) panels.push_back(std::move(panel));
        }
    }

    const auto rows = static_cast<double>((panels.size() + columns - 1) / columns);
    const double legend = 24 * static_cast<double>((competitors.size() + 3) / 4) + 20;
    const double width = panel_width * columns;
    const double height = legend + rows * panel_height;
    out << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 " << width << " " << height
        << "' font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' "
           "fill='white'/>\n";
    for (std::size_t i = 0; i < competitors.size(); ++i) {
        const double x = 20 + static_cast<double>(i % 4) * width / 4;
        const double y = 14 + static_cast<double>(i / 4) * 24;
        out << "<rect x='" << x << "' y='" << y << "' width='12' height='12' fill='" << color(i)
            << "'/>\n";
        text(out, x + 18, y + 10, "start", competitors[i]);
    }
    for (std::size_t i = 0; i < panels.size(); ++i) {
        out << "<g transform='translate(" << static_cast<double>(i % columns) * panel_width << " "
            << legend + static_cast<double>(i / columns) * panel_height << ")'>\n";
        Panel(out, panels[i].points, panels[i].sizes).draw(panels[i].metric);
        out << "</g>\n";
    }
    out << "</svg>\n";
}

} // namespace bench
