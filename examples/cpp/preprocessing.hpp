// Converts a photo to the pixels that a Headstart model gets, with the same bytes as in Python. C++17, no libraries.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace headstart {

// `preprocessing` and `versions.pillow` (its major version) of the description in the model file.
struct Preprocessing {
  int size_px = 224;
  double crop_fraction = 0.875;
  std::string interpolation = "bicubic";  // or bilinear, lanczos
  std::string resize = "crop";            // or pad, squash
  int pillow = 13;
};

// RGB, row by row, without padding.
struct Image {
  int width;
  int height;
  std::vector<std::uint8_t> pixels;
};

namespace detail {

constexpr int kPrecisionBits = 22;
constexpr double kPi = 3.14159265358979323846;

inline double sinc(double x) { return x == 0 ? 1 : std::sin(x * kPi) / (x * kPi); }

inline double weight(const std::string& filter, double x) {
  const double d = std::abs(x), a = -0.5;
  if (filter == "bilinear") return std::max(0.0, 1 - d);
  if (filter == "lanczos") return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

inline double support(const std::string& filter) {
  if (filter == "bilinear") return 1;
  if (filter == "bicubic") return 2;
  if (filter == "lanczos") return 3;
  throw std::invalid_argument("This example has no filter " + filter);
}

// Which pixels one pixel of the result reads along an axis, and their weights times 2^22.
struct Window {
  int first;
  std::vector<std::int32_t> weights;
};

inline std::vector<Window> windows(int size, float start, float end, int count, const std::string& filter) {
  const float length = end - start;  // in 32 bits, as Pillow does
  const double scale = static_cast<double>(length) / count;
  const double widening = std::max(1.0, scale), reach = support(filter) * widening;
  std::vector<Window> found(count);
  for (int index = 0; index < count; ++index) {
    const double centre = start + (index + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(centre - reach + 0.5));
    const int last = std::min(size, static_cast<int>(centre + reach + 0.5));
    std::vector<double> exact(last - first);
    double sum = 0;
    for (int k = 0; k < last - first; ++k) {
      exact[k] = weight(filter, (k + first - centre + 0.5) * (1 / widening));
      sum += exact[k];
    }
    found[index].first = first;
    for (const double each : exact) {
      const double fixed = each / sum * (1 << kPrecisionBits);
      found[index].weights.push_back(static_cast<std::int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
  }
  return found;
}

// Resample along the rows (is_down = false) or along the columns.
inline Image resample(const Image& source, const std::vector<Window>& windows, bool is_down) {
  const int count = static_cast<int>(windows.size());
  Image target{is_down ? source.width : count, is_down ? count : source.height, {}};
  target.pixels.resize(std::size_t{3} * target.width * target.height);
  const std::size_t step = is_down ? std::size_t{3} * source.width : 3;
  std::size_t at = 0;
  for (int y = 0; y < target.height; ++y) {
    for (int x = 0; x < target.width; ++x) {
      const Window& window = windows[is_down ? y : x];
      const int row = is_down ? window.first : y, column = is_down ? x : window.first;
      for (int channel = 0; channel < 3; ++channel) {
        std::size_t from = 3 * (std::size_t(row) * source.width + column) + channel;
        std::int32_t sum = 1 << (kPrecisionBits - 1);
        for (const std::int32_t each : window.weights) {
          sum += source.pixels[from] * each;
          from += step;
        }
        target.pixels[at++] = static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
      }
    }
  }
  return target;
}

}  // namespace detail

// Return size_px x size_px pixels of an upright photo in sRGB.
inline Image preprocess(const Image& photo, const Preprocessing& settings) {
  const int side = settings.size_px, width = photo.width, height = photo.height;
  std::array<double, 4> box{0, 0, double(width), double(height)};
  int columns = side, rows = side;
  if (settings.resize == "crop") {
    const double part = settings.crop_fraction * std::min(width, height);
    box = {(width - part) / 2, (height - part) / 2, (width + part) / 2, (height + part) / 2};
  } else if (settings.resize == "pad") {
    const double scale = double(side) / std::max(width, height);
    columns = std::max(1, int(std::nearbyint(scale * width)));  // halves to even, as Python does
    rows = std::max(1, int(std::nearbyint(scale * height)));
  }
  const auto across =
      detail::windows(width, float(box[0]), float(box[2]), columns, settings.interpolation);
  const auto down = detail::windows(height, float(box[1]), float(box[3]), rows, settings.interpolation);
  const int removed = height - rows;
  const bool is_height_first = settings.pillow >= 13 && removed > 0 && removed > 2 * (width - columns);
  const Image content = is_height_first
                            ? detail::resample(detail::resample(photo, down, true), across, false)
                            : detail::resample(detail::resample(photo, across, false), down, true);
  if (columns == side && rows == side) return content;
  Image canvas{side, side, std::vector<std::uint8_t>(std::size_t{3} * side * side, 128)};
  const int left = (side - columns) / 2, top = (side - rows) / 2;
  for (int row = 0; row < rows; ++row) {
    std::copy_n(content.pixels.begin() + std::ptrdiff_t{3} * row * columns, 3 * columns,
                canvas.pixels.begin() + 3 * (std::ptrdiff_t(top + row) * side + left));
  }
  return canvas;
}

}  // namespace headstart
