// Reads photos from PPM files (P6, 8 bits), which need no library, and settings from a command line.
#pragma once

#include <fstream>
#include <stdexcept>
#include <string>

#include "preprocessing.hpp"

inline headstart::Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int width = 0, height = 0, white = 0;
  file >> magic >> width >> height >> white;
  file.get();  // one space before the pixels
  if (magic != "P6" || white != 255 || width < 1 || height < 1) {
    throw std::runtime_error(path + " is not a PPM file with 8 bits per channel.");
  }
  headstart::Image photo{width, height, std::vector<std::uint8_t>(std::size_t{3} * width * height)};
  if (!file.read(reinterpret_cast<char*>(photo.pixels.data()), photo.pixels.size())) {
    throw std::runtime_error(path + " is cut short.");
  }
  return photo;
}

// Five arguments: size_px, crop_fraction, interpolation, resize, and the major version of Pillow.
inline headstart::Preprocessing settings_of(char** arguments) {
  return {std::stoi(arguments[0]), std::stod(arguments[1]), arguments[2], arguments[3], std::stoi(arguments[4])};
}
