// Compares preprocessing.hpp with a test vector.
//
//     g++ -std=c++17 -O2 compare.cpp -o compare
//     convert VECTOR/decoded.png VECTOR/decoded.ppm
//     ./compare VECTOR/decoded.ppm VECTOR/pixels.bin SIZE_PX CROP_FRACTION INTERPOLATION RESIZE PILLOW
//
// The last five are `preprocessing` and the major version of `versions.pillow` in VECTOR/model.json.

#include <fstream>
#include <iostream>
#include <iterator>

#include "preprocessing.hpp"

int main(int argc, char** argv) {
  if (argc != 8) {
    std::cerr << "7 arguments are needed: see compare.cpp\n";
    return 2;
  }
  std::ifstream ppm(argv[1], std::ios::binary);
  std::string magic;
  int width, height, white;
  ppm >> magic >> width >> height >> white;
  ppm.get();  // one space before the pixels
  headstart::Image photo{width, height, std::vector<std::uint8_t>(std::size_t{3} * width * height)};
  ppm.read(reinterpret_cast<char*>(photo.pixels.data()), photo.pixels.size());
  const headstart::Preprocessing settings{std::stoi(argv[3]), std::stod(argv[4]), argv[5], argv[6], std::stoi(argv[7])};
  const headstart::Image found = headstart::preprocess(photo, settings);
  std::ifstream file(argv[2], std::ios::binary);
  const std::vector<char> wanted{std::istreambuf_iterator<char>(file), {}};
  if (!ppm || magic != "P6" || wanted.size() != found.pixels.size()) {
    std::cerr << "The files are not those of a test vector.\n";
    return 2;
  }
  std::size_t different = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) different += found.pixels[i] != std::uint8_t(wanted[i]);
  std::cout << different << " of " << wanted.size() << " bytes differ\n";
  return different == 0 ? 0 : 1;
}
